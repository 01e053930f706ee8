"""Vectors around codes: what is drawn lies where it should, and a radius is the distance from the mixtures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaspace.subspace.codes import REACH, draw_codes, in_span, mean_length, radius_of, squared_radius


def some_codes(seed, tasks=4, dim=6):
    return torch.randn(tasks, dim, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 10**6), tasks=st.integers(1, 8))
def test_mixtures_of_codes_have_the_radius_zero(seed, tasks):
    codes = some_codes(seed, tasks)
    weights = torch.rand(3, tasks, generator=torch.Generator().manual_seed(seed + 1))
    weights *= REACH / weights.sum(1, keepdim=True) * torch.tensor([[0.0], [0.5], [1.0]])
    assert radius_of(weights @ codes, codes).max() < 1e-3


@given(seed=st.integers(0, 10**6), length=st.floats(0.1, 10))
def test_the_radius_is_the_distance_from_the_nearest_mixture(seed, length):
    # Corners on the axes: the nearest mixture of a point with negative coordinates is 0, or keeps the others.
    codes = torch.eye(3)
    vector = torch.tensor([[-length, 0.3, -0.2]])
    assert radius_of(vector, codes).item() == pytest.approx(math.hypot(length, 0.2), rel=1e-3)


def test_the_gradient_leads_away_from_the_nearest_mixture():
    vector = torch.tensor([[1.0, 2.0]], requires_grad=True)
    squared_radius(vector, torch.tensor([[2.0, 0.0]])).sum().backward()
    assert torch.allclose(vector.grad, torch.tensor([[0.0, 1.0]]), atol=1e-3)
    inside = torch.tensor([[1.0, 0.0]], requires_grad=True)
    squared_radius(inside, torch.tensor([[2.0, 0.0]])).sum().backward()
    assert torch.isfinite(inside.grad).all()
    assert inside.grad.norm() < 1e-3


def test_without_codes_the_radius_is_a_length():
    assert radius_of(torch.tensor([[3.0, 4.0]]), torch.zeros(0, 2)).item() == pytest.approx(5.0)
    assert mean_length(torch.zeros(3, 2)) == 1.0


@given(seed=st.integers(0, 10**6), radius=st.floats(0, 3))
def test_drawn_vectors_lie_within_their_radius(seed, radius):
    codes = some_codes(seed)
    drawn = draw_codes(codes, 5, 1.0, (radius, radius), seed)
    assert torch.equal(drawn, draw_codes(codes, 5, 1.0, (radius, radius), seed))
    assert radius_of(drawn, codes).max() <= radius + 1e-3


@given(seed=st.integers(0, 10**6), tasks=st.integers(1, 5))
def test_the_part_in_the_span_is_a_projection(seed, tasks):
    codes = some_codes(seed, tasks)
    vector = torch.randn(6, generator=torch.Generator().manual_seed(seed + 1))
    part = in_span(vector, codes)
    assert torch.allclose(in_span(part, codes), part, atol=1e-4)
    rest = vector - part
    assert (rest @ (codes - codes.mean(0)).T).abs().max() < 1e-3
    inside = torch.full((tasks,), 1 / tasks) @ codes
    assert torch.allclose(in_span(inside, codes), inside, atol=1e-4)
