"""Laws that hold for all values: linear decoding, inverse flattening, zero displacements, exact saving."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.deltas import Layout, attach
from deltaspace.errors import DeltaspaceError
from deltaspace.files import read_tensors, write_tensors
from deltaspace.subspace import Subspace, initial_projections
from tests.tiny import tiny_backbone, tiny_task

shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=1, max_size=5)
seeds = st.integers(0, 2**31)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(shapes, seeds)
def test_flatten_and_split_are_inverse(entries, seed):
    layout = Layout(tuple((f"p{i}", shape) for i, shape in enumerate(entries)))
    vector = draw(seed, layout.size)
    parts = layout.split(vector)
    assert [tuple(p.shape) for p in parts.values()] == entries
    assert layout.flatten(parts).equal(vector)
    assert all(p.untyped_storage().data_ptr() == vector.untyped_storage().data_ptr() for p in parts.values())


@given(seeds, st.integers(1, 6), st.floats(-2, 2), st.floats(-2, 2))
def test_decode_is_linear(seed, dim, a, b):
    [dense] = initial_projections([draw(seed, 2, 40)], dim, seed)
    x, y = draw(seed + 1, 1, dim), draw(seed + 2, 1, dim)
    torch.testing.assert_close(dense.decode(a * x + b * y), a * dense.decode(x) + b * dense.decode(y), rtol=1e-3, atol=1e-3)


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_a_zero_displacement_changes_nothing(seed):
    backbone = tiny_backbone("bert")
    lora = attach("lora", backbone, r=2, seed=seed)
    [dense] = initial_projections([draw(seed, 1, lora.layout.size)], 3, seed)
    vector = lora.initial + dense.decode(torch.zeros(1, 3))[0]
    task = tiny_task()
    batch = backbone.family.collate(backbone.family.encode(task, task.test))
    assert lora.loss(vector, batch).equal(backbone.family.loss(backbone.model, batch))


def subspace(seed=0):
    projections = dict(
        zip(("lora", "prefix"), initial_projections([draw(seed, 2, 30), draw(seed + 1, 2, 31)], 4, seed), strict=True)
    )
    initial = {"lora": draw(seed, 30), "prefix": draw(seed + 5, 31)}
    return Subspace(4, "print", initial, projections, draw(seed + 9, 4), {"steps": 3})


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_saving_a_subspace_is_exact(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("s") / "s.safetensors"
    one = subspace(seed)
    one.save(path)
    other = Subspace.load(path)
    assert (other.dim, other.backbone, other.history) == (4, "print", {"steps": 3})
    for name in one.initial:
        code = draw(seed, 4)
        assert other.decode(name, code).equal(one.decode(name, code))
        assert other.projections[name].scale == one.projections[name].scale
        for saved, loaded in zip(one.projections[name].tensors(), other.projections[name].tensors(), strict=True):
            assert saved.equal(loaded)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_any_truncation_is_seen(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("t") / "t.safetensors"
    write_tensors(path, {"a": torch.arange(600.0)}, {"fingerprint": "x"})
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(DeltaspaceError, match="damaged"):
        read_tensors(path)


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.arange(600.0)}, {})
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DeltaspaceError, match="checksum"):
        read_tensors(path)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 9), st.integers(1, 4))
def test_the_start_reconstructs_the_solutions_and_shares_their_codes(seed, dim, tasks):
    displacements = [draw(seed, tasks, 60), 10 * draw(seed + 1, tasks, 50)]
    dense = initial_projections(displacements, dim, seed)
    codes = [p.encode(d) for p, d in zip(dense, displacements, strict=True)]
    torch.testing.assert_close(codes[0], codes[1], rtol=1e-2, atol=1e-3)
    if dim >= tasks:
        for projection, stacked, code in zip(dense, displacements, codes, strict=True):
            torch.testing.assert_close(projection.decode(code), stacked, rtol=1e-2, atol=1e-2 * float(stacked.abs().max()))
