"""Landscapes: every cell equals scoring its point, whatever is shared, filled in, interrupted or cast."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Grid, Landscape, Mark, Sampling, Slice, regions, sample, sampling
from deltaspace.landscape.landscape import pack_texts
from deltaspace.landscape.refinement import filled, levels
from deltaspace.scoring import Scorer
from deltaspace.storage import read_metadata, read_tensors, write_tensors
from deltaspace.subspace import approximate
from deltaspace.tasks import Example, make_task
from deltaspace.training import Resume
from tests.tiny import tiny_backbone, tiny_task


@pytest.fixture(scope="module")
def parts():
    """A random subspace of three deltas that is wide enough for scores to change."""
    backbone = tiny_backbone("sentence")
    attached = [attach("adapter", backbone, bottleneck=2), attach("lora", backbone, r=2), attach("prefix", backbone, tokens=2)]
    task = tiny_task()
    subspace = approximate(attached, {}, [], dim=4, projection="gaussian")
    slice_ = Slice.through(
        {name: 40 * torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("abc")},
        Grid.parse("-60:60:9"),
    )
    return subspace, attached, task, slice_


def test_every_cell_is_the_score_of_its_point(parts):
    subspace, attached, task, slice_ = parts
    landscape = sample(subspace, attached, task, slice_, Sampling(examples=None, precision="fp32"))
    scores = landscape.scores()
    assert landscape.sampled == 1.0 and np.ptp(scores) > 0
    for index, delta in enumerate(attached):
        scorer = Scorer(delta, task, "test")
        for cell, point in enumerate(slice_.points()):
            wanted = scorer.score(subspace.decode(delta.name, point))
            indices = (index, *np.unravel_index(cell, slice_.shape))
            assert scores[indices] == wanted.value
            assert landscape.losses[indices] == pytest.approx(wanted.loss, rel=1e-3)


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_neither_short_passes_nor_several_cells_in_one_change_the_numbers(parts, monkeypatch, tokens):
    subspace, attached, task, slice_ = parts
    few = Sampling(examples=6, precision="fp32")
    whole = sample(subspace, attached, task, slice_, few)
    monkeypatch.setattr(sampling, "_CPU_TOKENS", tokens)
    again = sample(subspace, attached, task, slice_, few)
    assert np.array_equal(whole.scores(), again.scores())
    assert np.allclose(whole.losses, again.losses, rtol=1e-4)


def test_large_samples_and_one_vector_at_a_time_are_not_grouped(parts):
    subspace, attached, task, slice_ = parts
    items = attached[0].backbone.family.encode(task, task.test)
    assert sampling._Sampler(subspace, attached[1], items, slice_).cells > 1
    assert sampling._Sampler(subspace, attached[1], items * 40, slice_).cells == 1


def test_frozen_weights_in_bf16_change_little_and_are_put_back(parts):
    subspace, attached, task, slice_ = parts
    full = sample(subspace, attached, task, slice_, Sampling(precision="fp32"))
    cast = sample(subspace, attached, task, slice_, Sampling(precision="bf16"))
    assert cast.precision == "bf16"
    assert not np.array_equal(full.losses, cast.losses) and np.abs(full.losses - cast.losses).mean() < 0.02
    assert np.array_equal(sample(subspace, attached, task, slice_, Sampling(precision="fp32")).losses, full.losses)


def test_a_tolerance_samples_fewer_cells_and_stays_within_what_it_saw(parts):
    subspace, attached, task, slice_ = parts
    full = sample(subspace, attached, task, slice_, Sampling(precision="fp32"))
    some = sample(subspace, attached, task, slice_, Sampling(tolerance=13.0, precision="fp32"))
    assert 0 < some.sampled < 1 and some.progress == 1
    known = some.done
    assert np.array_equal(some.scores()[known], full.scores()[known])
    assert not np.isnan(some.filled()).any() and not np.isnan(some.filled("loss")).any()
    # The first and coarsest level is always sampled.
    assert known[:, ::4, ::4].all()


class Killed(Exception):
    pass


@pytest.mark.parametrize("tolerance", [0.0, 13.0])
def test_a_killed_sampling_goes_on_and_ends_with_the_same_numbers(parts, tmp_path, monkeypatch, tolerance):
    subspace, attached, task, slice_ = parts
    monkeypatch.setattr(sampling, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(sampling, "_CPU_TOKENS", 100)
    exact = Sampling(tolerance=tolerance, precision="fp32")
    whole = sample(subspace, attached, task, slice_, exact)
    seen = []

    def stop(done, cells, text):
        seen.append((done, cells))
        if len(seen) == 60:
            raise Killed

    def resume(told, fingerprint="f"):
        return Resume(tmp_path / "state.safetensors", fingerprint, told)

    with pytest.raises(Killed):
        sample(subspace, attached, task, slice_, exact, resume=resume(stop))
    done_before = seen[-1][0]
    again = []
    resumed = sample(
        subspace, attached, task, slice_, exact, resume=resume(lambda done, cells, text: again.append((done, cells)))
    )
    assert again[0][0] in (done_before, done_before + 1) and again[-1][0] == again[-1][1] == int(resumed.done.sum())
    assert np.array_equal(resumed.predictions >= 0, whole.predictions >= 0)
    assert np.array_equal(resumed.scores(), whole.scores(), equal_nan=True)
    assert np.array_equal(resumed.losses, whole.losses, equal_nan=True)
    other = []
    sample(subspace, attached, task, slice_, exact, resume=resume(lambda *told: other.append(told[0]), "another"))
    assert other[0] == 1


def changed(**entries):
    def damage(path):
        tensors, said = read_tensors(path)
        for name, value in entries.items():
            (tensors if name in tensors else said)[name] = value(tensors) if callable(value) else value
        write_tensors(path, tensors, said)

    return damage


UNFIT = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-7]), "announces"),
    "zeroed": (lambda path: path.write_bytes(bytes(900)), "header"),
    "of other products": (changed(precision="bf16"), "begun in bf16"),
    "one prediction for all": (changed(predictions=torch.zeros(1, dtype=torch.int32)), "predictions is of shape (1,)"),
    "other losses": (changed(losses=torch.zeros(3)), "losses is of shape (3,)"),
    "answers that are none": (changed(answers=torch.zeros(9, dtype=torch.uint8)), ""),
    "too few answers": (changed(answers=pack_texts(["happy"]), predictions=lambda t: t["predictions"] * 0 + 1), "not among"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_state_that_does_not_fit_is_told_and_the_sampling_begins_anew(parts, tmp_path, monkeypatch, case):
    damage, why = UNFIT[case]
    subspace, attached, task, slice_ = parts
    monkeypatch.setattr(sampling, "_SAVE_SECONDS", 0.0)
    exact, path = Sampling(precision="fp32"), tmp_path / "state.safetensors"
    whole = sample(subspace, attached, task, slice_, exact, resume=Resume(path, "a"))
    damage(path)
    told, notes = [], []
    anew = sample(
        subspace, attached, task, slice_, exact, resume=Resume(path, "a", lambda *t: told.append(t[0]), note=notes.append)
    )
    assert np.array_equal(anew.scores(), whole.scores()) and np.array_equal(anew.losses, whole.losses)
    assert told[0] < told[-1] == anew.losses.size
    assert len(notes) == 1 and str(path) in notes[0] and why in notes[0]


def test_undone_cells_are_nan(parts):
    subspace, attached, task, slice_ = parts
    landscape = sample(subspace, attached, task, slice_, Sampling(tolerance=13.0, precision="fp32"))
    landscape.predictions[0, 0, 0] = -1
    landscape.losses[0, 0, 0] = np.nan
    assert np.isnan(landscape.filled()[0, 0, 0]) and landscape.progress < 1


def test_a_landscape_is_saved_exactly(parts, tmp_path):
    subspace, attached, task, slice_ = parts
    landscape = sample(subspace, attached, task, slice_, Sampling(tolerance=13.0))
    landscape.trajectories, landscape.marks = {"lora": [[0.0, 1.5]]}, {"lora": Mark((0.0, 1.5), 0.25)}
    landscape.save(tmp_path / "l.safetensors")
    again = Landscape.load(tmp_path / "l.safetensors")
    for name in ("deltas", "task", "split", "metric", "targets", "answers", "tolerance", "precision", "marks", "trajectories"):
        assert getattr(again, name) == getattr(landscape, name)
    assert np.array_equal(again.predictions, landscape.predictions)
    assert np.array_equal(again.losses, landscape.losses, equal_nan=True)
    assert torch.equal(again.slice.points(), slice_.points()) and again.slice.grids == slice_.grids
    assert again.slice.marks == slice_.marks and again.slice.labels == slice_.labels


def test_what_is_no_landscape_is_told(parts, tmp_path):
    write_tensors(tmp_path / "other.safetensors", {}, {"format": "deltaspace.vectors/1"})
    write_tensors(tmp_path / "newer.safetensors", {}, {"format": "deltaspace.landscape/99"})
    with pytest.raises(DeltaspaceError, match="is not a landscape"):
        Landscape.load(tmp_path / "other.safetensors")
    with pytest.raises(DeltaspaceError, match="newer deltaspace"):
        Landscape.load(tmp_path / "newer.safetensors")


def test_a_regression_has_an_answer_for_every_cell_and_example(parts, tmp_path):
    subspace, attached, _, slice_ = parts
    words = {"0": "bad", "2.5": "fine", "5": "great"}
    rows = [Example(f"the film was {word}", target) for word, target in zip(("good", "bad", "dull"), words, strict=True)]
    task = make_task("stars", {"train": rows, "dev": rows, "test": rows}, source="here", kind="regression", labels=words)
    landscape = sample(subspace, attached, task, slice_, Sampling(precision="fp32"))
    assert len(landscape.answers) > landscape.done.sum()
    landscape.save(tmp_path / "l.safetensors")
    assert Landscape.load(tmp_path / "l.safetensors").answers == landscape.answers
    # A header is read whole, again and again: it does not hold the answers.
    assert not set(landscape.answers) & set(json.dumps(read_metadata(tmp_path / "l.safetensors")).split('"'))
    [region] = regions(landscape, [90.0], samples=20)
    assert region.shares["common"].low <= region.shares["common"].value <= 100


def test_a_slice_of_another_subspace_is_refused(parts):
    subspace, attached, task, _ = parts
    other = Slice.through({"a": torch.ones(3), "b": torch.zeros(3)})
    with pytest.raises(DeltaspaceError, match="another subspace"):
        sample(subspace, attached, task, other)


@pytest.mark.parametrize("shape", [(2,), (5,), (6,), (25,), (9, 9), (2, 7), (25, 25)])
def test_levels_hold_every_cell_once_behind_its_parents_and_fill_planes_exactly(shape):
    seen: set = set()
    for level in levels(shape):
        cells = [cell for cell, _ in level]
        for _, parents in level:
            assert set(parents) <= seen
            assert not parents or sum(parents.values()) == pytest.approx(1)
        assert not seen & set(cells)
        seen |= set(cells)
    assert len(seen) == np.prod(shape)
    plane = sum(
        np.arange(count).reshape([-1 if axis == other else 1 for other in range(len(shape))]) * (axis + 1.5)
        for axis, count in enumerate(shape)
    )
    plane = np.broadcast_to(plane, shape).astype(float)
    done = np.zeros(shape, dtype=bool)
    for cell, _ in levels(shape)[0]:
        done[cell] = True
    assert np.allclose(filled(plane, done), plane)
