"""Laws of every projection: linear decoding, zero to zero, exact saving; and what each is defined by."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import write_tensors
from deltaspace.subspace import PROJECTIONS, Entry, Plm, Source, Subspace, find_projection
from deltaspace.subspace.fitting.displacements import InFiles, InMemory
from deltaspace.subspace.fitting.joint import basis, cuts, gram, shared_codes, spread, weighted
from deltaspace.subspace.maps.hadamard import walsh_hadamard

seeds = st.integers(0, 2**31)
# Two deltas whose displacements differ in norm by ten; sizes of their tensor blocks.
SIZES = [[20, 5, 15, 20], [10, 10, 10, 10, 10]]


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def displacements(seed, tasks):
    return [draw(seed, tasks, 60), 10 * draw(seed + 1, tasks, 50)]


def made(name, seed=0, tasks=3, dim=3, **options):
    sources = [Source(InMemory(d), blocks) for d, blocks in zip(displacements(seed, tasks), SIZES, strict=True)]
    return find_projection(name, **options).make(sources, dim, seed)


def subspace_of(maps, codes, sources=("a", "b"), shared=True, **rest):
    initial = {"lora": draw(1, 60), "prefix": draw(2, 50)}
    entries = {delta: Entry(initial[delta], decoded) for delta, decoded in zip(initial, maps, strict=True)}
    return Subspace(3, Plm("model", "print", "decoder"), entries, sources, codes, shared, **rest)


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("scaling", ["delta", "block"])
@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(1, 6), st.floats(-2, 2), st.floats(-2, 2))
def test_decode_is_linear(name, scaling, seed, dim, a, b):
    for found in made(name, seed, dim, dim, scaling=scaling):
        x, y = draw(seed + 1, 1, dim), draw(seed + 2, 1, dim)
        combined = a * found.decode(x) + b * found.decode(y)
        torch.testing.assert_close(found.decode(a * x + b * y), combined, rtol=1e-3, atol=1e-3 * found.scale)
        assert not found.decode(torch.zeros(1, dim)).any()
        assert found.encode(draw(seed, 4, len(found.units))).shape == (4, dim)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_saving_a_subspace_is_exact(name, tmp_path):
    one = subspace_of(made(name), draw(9, 2, 2, 3), shared=name != "autoencoder", history={"steps": 3})
    one.entries["prefix"] = replace(one.entries["prefix"], offset=draw(3, 50))
    one.save(tmp_path / "s.safetensors")
    other = Subspace.load(tmp_path / "s.safetensors")
    assert (other.dim, other.plm, other.sources, other.shared) == (3, one.plm, ("a", "b"), one.shared)
    assert other.history == {"steps": 3}
    for delta in one.entries:
        assert other.decode(delta, draw(4, 3)).equal(one.decode(delta, draw(4, 3)))
        assert other.mean_code(delta).equal(one.mean_code(delta))
        assert type(other.entries[delta].map) is type(one.entries[delta].map)
        loaded = other.entries[delta].map.tensors()
        assert all(tensor.equal(loaded[key]) for key, tensor in one.entries[delta].map.tensors().items())


def test_codes_are_shared_or_a_delta_s_own():
    codes = draw(9, 2, 2, 3)
    shared, own = (subspace_of(made("svd"), codes, shared=flag) for flag in (True, False))
    assert shared.mean_code("lora").equal(shared.mean_code("prefix"))
    torch.testing.assert_close(shared.mean_code("lora"), codes.mean((0, 1)))
    torch.testing.assert_close(shared.shared_codes(), codes.mean(0))
    torch.testing.assert_close(own.mean_code("prefix"), codes[1].mean(0))
    with pytest.raises(DeltaspaceError, match="share no codes"):
        own.shared_codes()
    assert not subspace_of(made("svd"), codes[:, :0], ()).mean_code("lora").any()


def test_an_offset_is_there_at_every_vector():
    subspace = subspace_of(made("svd"), draw(9, 2, 2, 3))
    plain, offset = subspace.entries["lora"], draw(7, 60)
    moved = replace(plain, offset=offset)
    vectors = draw(8, 4, 3)
    torch.testing.assert_close(moved.decode(vectors), plain.decode(vectors) + offset)
    torch.testing.assert_close(moved.displace(vectors), plain.displace(vectors) + offset)
    torch.testing.assert_close(moved.encode(moved.displace(vectors)), vectors, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["dense", "svd"])
@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 14), st.integers(1, 4))
def test_the_joint_svd_holds_the_solutions_and_shares_their_codes(name, seed, dim, tasks):
    projections = made(name, seed, tasks, dim)
    codes = [p.encode(d) for p, d in zip(projections, displacements(seed, tasks), strict=True)]
    if dim >= tasks:
        for projection, stacked, code in zip(projections, displacements(seed, tasks), codes, strict=True):
            torch.testing.assert_close(projection.decode(code), stacked, rtol=1e-2, atol=1e-2 * float(stacked.abs().max()))
    if name == "dense":
        torch.testing.assert_close(codes[0], codes[1], rtol=1e-2, atol=1e-3)


def test_the_joint_svd_is_that_of_the_stack():
    stack = [d / d.norm(dim=1).mean() for d in displacements(3, 4)]
    left, _, _ = torch.linalg.svd(torch.cat(stack, dim=1), full_matrices=False)
    units = [torch.full((d.shape[1],), float(d.norm(dim=1).mean()) / d.shape[1] ** 0.5) for d in displacements(3, 4)]
    found = shared_codes([gram(InMemory(d), u) for d, u in zip(displacements(3, 4), units, strict=True)], 2)
    torch.testing.assert_close((found.T @ left[:, :2]).abs(), torch.eye(2), rtol=1e-4, atol=1e-4)


def test_rows_in_files_are_rows_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.subspace.fitting.displacements._NUMBERS", 21)  # runs of seven columns
    stacked = draw(0, 3, 50)
    for index, row in enumerate(stacked):
        write_tensors(tmp_path / f"{index}.safetensors", {"displacement": row}, {})
    files, memory = InFiles([tmp_path / f"{i}.safetensors" for i in range(3)]), InMemory(stacked)
    units, codes = torch.rand(50) + 0.1, torch.linalg.qr(draw(1, 3, 2)).Q
    assert files.shape == memory.shape == (3, 50)
    assert gram(files, units).equal(gram(memory, units))
    torch.testing.assert_close(gram(files, units).float(), (stacked / units) @ (stacked / units).T / 50, rtol=1e-4, atol=1e-4)
    assert files.take([2, 0]).equal(memory.take([2, 0])) and files.take([2, 0]).equal(stacked[[2, 0]])
    torch.testing.assert_close(weighted(files, units, codes), codes.T @ (stacked / units), rtol=1e-4, atol=1e-4)
    own = basis(Source(files, SIZES[1]), units, codes, [2, 3], 5)
    assert own.equal(basis(Source(memory, SIZES[1]), units, codes, [2, 3], 5))
    whole = codes.T @ (stacked / units)
    torch.testing.assert_close(torch.stack([own[:2].sum(0), own[2:].sum(0)]), whole, rtol=1e-4, atol=1e-4)
    assert ((own != 0).sum(0) == 2).all()
    torch.testing.assert_close(spread(codes, [2, 3]) @ own, codes @ whole, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 24))
def test_cuts_use_every_dimension_that_blocks_allow(dim, rank, blocks):
    rank = min(rank, dim)
    parts = cuts(dim, rank, blocks)
    assert len(parts) == rank
    assert sum(parts) == min(dim, rank * blocks) or max(parts) == blocks
    assert parts == sorted(parts, reverse=True)


def test_the_span_has_the_solutions_as_dimensions():
    for projection, stacked in zip(made("span"), displacements(0, 3), strict=True):
        torch.testing.assert_close(projection.decode(torch.eye(3)), stacked, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(projection.encode(stacked), torch.eye(3), rtol=1e-3, atol=1e-3)
    with pytest.raises(DeltaspaceError, match="one dimension for each source task"):
        made("span", dim=5)


def test_walsh_hadamard_is_its_matrix():
    matrix = torch.tensor([[1.0]])
    for _ in range(4):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0)
    values = draw(0, 3, 2, 16)
    torch.testing.assert_close(walsh_hadamard(values), values @ matrix)
    with pytest.raises(ValueError, match="power of two"):
        walsh_hadamard(torch.ones(3, 6))


@pytest.mark.parametrize("name", ["gaussian", "fastfood"])
def test_random_projections_are_nearly_orthogonal_and_need_no_solutions(name):
    none = [Source(InMemory(torch.zeros(0, 40_000)), [40_000])]
    found = find_projection(name).make(none, 5, 0)[0]
    columns = found.decode(torch.eye(5))
    torch.testing.assert_close(columns @ columns.T, torch.eye(5), rtol=0, atol=0.05)
    torch.testing.assert_close(found.encode(columns), torch.eye(5), rtol=0, atol=0.05)
    again, other = (find_projection(name).make(none, 5, seed)[0].decode(torch.eye(5)) for seed in (0, 1))
    assert columns.equal(again)
    assert not columns.equal(other)


def test_units_are_one_for_a_delta_or_for_a_block():
    stacked = torch.cat([draw(0, 3, 20), 100 * draw(1, 3, 5), draw(2, 3, 15), torch.zeros(3, 20)], dim=1)
    flat = find_projection("svd").units(Source(InMemory(stacked), SIZES[0]))
    block = find_projection("svd", scaling="block").units(Source(InMemory(stacked), SIZES[0]))
    assert flat.unique().numel() == 1
    length = stacked.norm(dim=1).mean()
    torch.testing.assert_close(torch.stack([flat.norm(), block.norm()]), torch.stack([length, length]))
    first, second, third, fourth = block.split(SIZES[0])
    assert all(part.unique().numel() == 1 for part in (first, second, third, fourth))
    assert second[0] / first[0] == pytest.approx(float(stacked[:, 20:25].norm() / stacked[:, :20].norm()) * 2, rel=1e-4)
    assert fourth[0] > 0


def test_an_unknown_projection_is_refused():
    with pytest.raises(DeltaspaceError, match="no projection"):
        find_projection("nothing")


def test_a_file_that_was_cut_while_it_is_read_is_told(tmp_path):
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in paths:
        write_tensors(path, {"displacement": torch.ones(50)}, {})
    files = InFiles(paths)
    assert files.columns(0, 50).equal(torch.ones(2, 50))
    os.truncate(paths[1], paths[1].stat().st_size - 8)
    with pytest.raises(DeltaspaceError, match="ends too early"):
        files.columns(40, 50)


@pytest.mark.parametrize("scaling", ["delta", "block"])
def test_units_and_products_are_those_of_two_readings(scaling):
    source = Source(InMemory(torch.stack([torch.linspace(-1, 2, 50), torch.linspace(3, -4, 50).square()])), [20, 30])
    method = find_projection("svd", scaling=scaling)
    units, products = method.units_and_products(source)
    torch.testing.assert_close(units, method.units(source))
    torch.testing.assert_close(products, gram(source.displacements, units), rtol=1e-5, atol=0)
