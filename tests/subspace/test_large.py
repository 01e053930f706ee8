"""Deltas of the PLM's own size: what ties them without a dense basis is what the dense basis would be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.subspace import Source, find_projection
from deltaspace.subspace.fitting.diagonal import fitted_diagonal
from deltaspace.subspace.fitting.displacements import InMemory
from deltaspace.subspace.fitting.trainable import FastfoodTrainable, SpanTrainable
from deltaspace.subspace.maps.hadamard import Hadamard, transformed, walsh_hadamard

SIZES = [[20, 5, 15, 20], [10, 10, 10, 10, 10]]
seeds = st.integers(0, 2**31)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def displacements(seed, tasks):
    return [draw(seed, tasks, 60), 10 * draw(seed + 1, tasks, 50)]


def sources(stacks, large=True):
    """Of two deltas; the first is of the PLM's size or not."""
    return [
        Source(InMemory(stack), blocks, large and not index)
        for index, (stack, blocks) in enumerate(zip(stacks, SIZES, strict=True))
    ]


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 14), st.integers(1, 4))
def test_a_mixture_is_the_joint_svd_s_own_basis(seed, dim, tasks):
    dense, _ = find_projection("svd").make(sources(displacements(seed, tasks), large=False), dim, 0)
    mixture, other = find_projection("svd").make(sources(displacements(seed, tasks)), dim, 0)
    assert (mixture.kind, other.kind) == ("mixture", "linear")
    codes = draw(seed + 2, 3, dim)
    torch.testing.assert_close(mixture.decode(codes), dense.decode(codes), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mixture.units, dense.units, rtol=1e-4, atol=1e-6)
    within = mixture.decode(codes)
    torch.testing.assert_close(mixture.decode(mixture.encode(within)), within, rtol=1e-2, atol=1e-2)


def test_a_mixture_s_gradient_and_its_runs(monkeypatch):
    monkeypatch.setattr("deltaspace.subspace.maps.mixture._RUN", 21)  # runs of seven columns
    mixture, _ = find_projection("svd").make(sources(displacements(0, 3)), 6, 0)
    codes = draw(5, 2, 6).requires_grad_()
    weights = draw(6, 2, 60)
    (mixture.decode(codes) * weights).sum().backward()
    basis = mixture.decode(torch.eye(6))
    torch.testing.assert_close(codes.grad, weights @ basis.T, rtol=1e-4, atol=1e-4)


def test_rows_keep_their_precision():
    kept = sources([d.bfloat16() for d in displacements(0, 3)])
    mixture, _ = find_projection("span").make(kept, 3, 0)
    assert mixture.rows.dtype == torch.bfloat16
    assert mixture.decode(torch.eye(3)).equal(kept[0].displacements.take([0, 1, 2]))


def dense_matrix(projection, dim):
    """H G P H B of every block, written out, below one another."""
    width = projection.signs.shape[1]
    hadamard = walsh_hadamard(torch.eye(width))
    blocks = []
    for signs, order, normal in zip(projection.signs, projection.order, projection.normal, strict=True):
        permutation = torch.eye(width)[order]
        blocks.append(hadamard @ torch.diag(normal) @ permutation @ hadamard @ torch.diag(signs) / width**0.5)
    return torch.cat(blocks)[: len(projection.units), :dim]


@pytest.mark.parametrize(("dim", "size", "run"), [(1, 5, 1), (3, 50, 16), (5, 64, 1000), (8, 61, 24)])
def test_the_transform_is_its_matrix_and_so_are_its_gradients(dim, size, run, monkeypatch):
    monkeypatch.setattr("deltaspace.subspace.maps.hadamard._RUN", run)
    projection = Hadamard.drawn(torch.rand(size) + 0.1, dim, torch.Generator().manual_seed(1))
    matrix = dense_matrix(projection, dim)
    codes, normal, weights = draw(2, 3, dim).requires_grad_(), projection.normal.clone().requires_grad_(), draw(3, 3, size)
    out = transformed(codes, normal, projection.signs, projection.order, size)
    torch.testing.assert_close(out, codes @ matrix.T, rtol=1e-4, atol=1e-4)
    (out * weights).sum().backward()
    torch.testing.assert_close(codes.grad, weights @ matrix, rtol=1e-4, atol=1e-4)
    step = draw(4, *normal.shape)
    moved = dense_matrix(Hadamard(projection.units, projection.signs, projection.order, step, projection.dim), dim)
    # V is linear in G.
    torch.testing.assert_close((normal.grad * step).sum(), (weights * (codes.detach() @ moved.T)).sum(), rtol=1e-3, atol=1e-3)
    own = draw(5, 2, size)
    torch.testing.assert_close(projection.encode(own), own / projection.units @ matrix / size, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 5))
def test_the_fitted_diagonal_is_least_squares(seed, tasks):
    start = Hadamard.drawn(torch.rand(64) + 0.1, 8, torch.Generator().manual_seed(seed))
    codes, targets = draw(seed, tasks, 8), draw(seed + 1, tasks, 64)
    best = fitted_diagonal(start, codes, InMemory(targets))

    def error(normal):
        out = transformed(codes, normal, start.signs, start.order, 64)
        return float((out - targets / start.units).square().sum())

    least = error(best)
    if tasks == 1:  # as many free numbers as entries
        assert least == pytest.approx(0, abs=1e-2 * float((targets / start.units).square().sum()))
    for index in range(3):
        assert error(best + 0.1 * draw(seed + 2 + index, *best.shape)) >= least


@pytest.mark.parametrize("tie", ["fastfood", "span"])
@pytest.mark.parametrize("start", ["svd", "random"])
@pytest.mark.parametrize("name", ["dense", "autoencoder"])
def test_what_is_trained_of_a_large_delta(name, start, tie):
    method = find_projection(name, start=start, tie=tie)
    given = sources(displacements(0, 3))
    rows = given[0].displacements
    large, small = method.trainables(given, 4, 0)
    assert isinstance(large, {"fastfood": FastfoodTrainable, "span": SpanTrainable}[tie])
    assert list(small.factors()) == ["up"] and not large.factors()
    values = {name: tensor.clone().requires_grad_() for name, tensor in large.trained().items()}
    trainable = large.with_trained(values)
    codes = trainable.codes()
    parameters, distances = trainable.decode_and_compare(codes, codes, torch.zeros(60), rows.take([0, 1, 2]))
    (parameters.square().sum() + distances.sum()).backward()
    assert all(value.grad is not None and value.grad.any() for value in values.values())
    fixed = trainable.fixed(rows)
    torch.testing.assert_close(fixed.decode(codes.detach()), parameters.detach(), rtol=1e-4, atol=1e-4)
    if start == "svd" and tie == "span":
        # It starts as the joint SVD does, which holds the solutions.
        torch.testing.assert_close(parameters.detach(), rows.take([0, 1, 2]), rtol=1e-2, atol=1e-2)
