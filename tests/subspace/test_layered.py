"""Codes for each layer: the least error that directions within single tensors can leave, saved and loaded as any map."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace import Source, find_projection
from deltaspace.subspace.fitting.displacements import InMemory
from deltaspace.subspace.maps import MAPS

BLOCKS = [6, 10, 3]


def rows_of(seed, tasks=5):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([1.0, 0.3, 2.0]).repeat_interleave(torch.tensor(BLOCKS))
    return torch.randn(tasks, sum(BLOCKS), generator=generator) * scales


def made(rows, dim, scaling="delta"):
    [fitted] = find_projection("svd", codes="layer", scaling=scaling).make([Source(InMemory(rows), BLOCKS)], dim, 0)
    return fitted


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 13))
def test_no_other_directions_within_tensors_leave_less(seed, dim):
    rows = rows_of(seed)
    fitted = made(rows, dim)
    codes = fitted.encode(rows)
    error = float((fitted.decode(codes) - rows).square().sum())
    assert codes.shape == (5, dim)
    spectra = [torch.linalg.svdvals(part.double()).square() for part in rows.split(BLOCKS, dim=1)]
    least = min(
        sum(float(values[count:].sum()) for values, count in zip(spectra, counts, strict=True))
        for counts in itertools.product(*(range(len(values) + 1) for values in spectra))
        if sum(counts) == dim
    )
    assert error == pytest.approx(least, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("scaling", ["delta", "block"])
def test_all_directions_hold_everything(scaling):
    rows = rows_of(0)
    fitted = made(rows, 5 + 5 + 3, scaling)
    torch.testing.assert_close(fitted.decode(fitted.encode(rows)), rows, rtol=1e-3, atol=1e-3)


def test_it_is_saved_and_loaded():
    rows = rows_of(1)
    fitted = made(rows, 4)
    again = MAPS.find("blocks").of(fitted.tensors())
    codes = fitted.encode(rows)
    assert again.encode(rows).equal(codes) and again.decode(codes).equal(fitted.decode(codes))
    assert fitted.bases.numel() == sum(count * size for count, size in zip(fitted.counts.tolist(), BLOCKS, strict=True))


def test_it_is_for_one_small_delta():
    method, source = find_projection("svd", codes="layer"), Source(InMemory(rows_of(0)), BLOCKS)
    for call in (
        lambda: method.check_deltas(["lora", "adapter"]),
        lambda: method.make([source, source], 2, 0),
        lambda: method.make([Source(InMemory(rows_of(0)), BLOCKS, large=True)], 2, 0),
    ):
        with pytest.raises(DeltaspaceError, match="codes for each layer"):
            call()
    method.check_deltas(["lora"])
