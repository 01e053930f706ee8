"""Laws that hold for all values: inverse flattening, zero displacements."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.deltas import Layout, attach
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.subspace import Source, find_projection
from deltaspace.subspace.fitting.displacements import InMemory
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


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_a_zero_displacement_changes_nothing(seed):
    backbone = tiny_backbone("bert")
    lora = attach("lora", backbone, r=2, seed=seed)
    source = Source(InMemory(draw(seed, 1, lora.layout.size)), lora.layout.sizes)
    [dense] = find_projection("dense").make([source], 3, seed)
    vector = lora.initial + dense.decode(torch.zeros(1, 3))[0]
    task = tiny_task()
    batch = backbone.family.collate(backbone.family.encode(task, task.test))
    assert lora.loss(vector, batch).equal(backbone.family.loss(backbone.model, batch))


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
