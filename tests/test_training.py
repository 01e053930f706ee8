"""The training loop: it learns, keeps the best, stops early, and resumes to the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.scoring import score
from deltaspace.solutions import train
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.subspace.stages.searchers import OPTIMIZERS
from deltaspace.training import Batches, Resume, Score, Training, fit, loop
from tests.tiny import tiny_backbone, tiny_task


def quadratic(values, step):
    return ((values[0] - 3 + 0.1 * (step % 3)) ** 2).sum()


def judge(values):
    loss = float(((values[0] - 3) ** 2).sum())
    return Score(-loss, loss, 1)


def test_the_loop_minimizes_and_leaves_its_start_alone():
    start = torch.zeros(4)
    trained = fit([start], quadratic, judge, Training(steps=200, lr=0.1, evaluate_every=20, clip=100))
    assert trained.best.loss < 0.1
    assert start.equal(torch.zeros(4))
    assert trained.steps == 200
    assert len(trained.curve) == 11


def test_patience_stops_and_the_best_is_kept():
    scores = iter([1.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    trained = fit(
        [torch.zeros(1)],
        quadratic,
        lambda _: Score(next(scores), 0.0, 1),
        Training(steps=99, lr=0.1, evaluate_every=1, patience=3),
    )
    assert (trained.best_step, trained.best.value, trained.steps) == (1, 5.0, 4)


@pytest.mark.parametrize("stop", [4, 5, 11, 29])
def test_a_killed_training_ends_with_the_same_numbers(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    settings = Training(steps=30, lr=0.05, evaluate_every=2, batch_size=4)
    attached, task = attach("lora", tiny_backbone("bert"), r=2), tiny_task()
    unbroken = train(attached, task, settings)

    def killed(step, steps, text):
        if step == stop:
            raise KeyboardInterrupt

    path = tmp_path / "running.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(attached, task, settings, resume=Resume(path, "a", killed))
    assert path.exists()
    resumed = train(attached, task, settings, resume=Resume(path, "a"))
    assert resumed.vector.equal(unbroken.vector)
    assert resumed.fit.curve == unbroken.fit.curve


def rewritten(change):
    """A state with another content, and a checksum that holds."""

    def damage(path):
        tensors, said = read_tensors(path)
        change(tensors, said)
        write_tensors(path, tensors, said)

    return damage


def put(name, value):
    return rewritten(lambda tensors, said: (tensors if name in tensors else said).__setitem__(name, value))


UNFIT = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-7]), "announces"),
    "empty": (lambda path: path.write_bytes(b""), "header"),
    "zeroed at its end": (lambda path: path.write_bytes(path.read_bytes()[:-60] + bytes(60)), "checksum"),
    "zeroed": (lambda path: path.write_bytes(bytes(2000)), "header"),
    "of another recipe": (put("fingerprint", "b"), "another recipe or version"),
    "without a tensor": (rewritten(lambda tensors, said: tensors.pop("0.best")), "lacks '0.best'"),
    "without the optimizer": (rewritten(lambda tensors, said: tensors.pop("optimizer.0.exp_avg")), "lacks '0.exp_avg'"),
    "one number for all": (put("0.value", torch.ones(1)), "0.value is of shape (1,)"),
    "too many numbers": (put("0.best", torch.ones(1000)), "0.best is of shape (1000,)"),
    "another optimizer": (put("optimizer.0.exp_avg", torch.ones(3)), "0.exp_avg is of shape (3,)"),
    "without its step": (rewritten(lambda tensors, said: said.pop("step")), "lacks 'step'"),
    "a step as a text": (put("step", "3"), "step"),
    "a step too far": (put("step", 31), "step 31 of 30"),
    "a best that is none": (put("best", [1.0]), "best"),
    "a curve without losses": (put("curve", [[1, 2.0]]), "curve"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_state_that_does_not_fit_is_told_and_the_training_begins_anew(tmp_path, monkeypatch, case):
    damage, why = UNFIT[case]
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    settings = Training(steps=30, lr=0.05, evaluate_every=2, batch_size=4)
    unbroken = fit([torch.zeros(4)], quadratic, judge, settings)

    def killed(step, steps, text):
        if step == 6:
            raise KeyboardInterrupt

    path = tmp_path / "running.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit([torch.zeros(4)], quadratic, judge, settings, resume=Resume(path, "a", killed))
    damage(path)
    notes, steps = [], []
    resume = Resume(path, "a", lambda step, *_: steps.append(step), note=notes.append)
    anew = fit([torch.zeros(4)], quadratic, judge, settings, resume=resume)
    assert anew.parameters[0].equal(unbroken.parameters[0]) and anew.curve == unbroken.curve
    assert steps[0] == 1
    assert len(notes) == 1 and str(path) in notes[0] and why in notes[0]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "cma"])
def test_a_state_of_another_size_fits_no_searcher(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    settings, path = Training(steps=4, lr=0.05, evaluate_every=1), tmp_path / "running.safetensors"

    def run(size, resume):
        starts = [torch.zeros(size), torch.ones(size)]

        def loss(values, step):
            return sum(((value - 3) ** 2).sum() for value in values)

        make = OPTIMIZERS[optimizer]
        return fit(starts, loss, judge, settings, optimizer=lambda values: make(values, [1.0, 0.5], 0), resume=resume)

    run(5, Resume(path, "a"))
    for name in ("0.value", "0.best", "1.value", "1.best"):
        put(name, torch.zeros(4))(path)
    notes = []
    # CMA-ES keeps losses alone, of which there are as many at either size.
    anew = run(4, Resume(path, "a", note=notes.append))
    assert bool(notes) is (optimizer != "cma")
    assert optimizer == "cma" or anew.parameters[0].equal(run(4, Resume()).parameters[0])


def test_an_infinite_loss_on_dev_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    settings, notes = Training(steps=3, lr=0.05, evaluate_every=1), []

    def unbounded(values):
        return Score(50.0, float("inf"), 2)

    resume = Resume(tmp_path / "running.safetensors", "a", note=notes.append)
    first = fit([torch.zeros(4)], quadratic, unbounded, settings, resume=replace(resume, kept=True))
    again = fit([torch.zeros(4)], quadratic, unbounded, settings, resume=resume)
    assert not notes and again.curve == first.curve and again.best == first.best


def test_training_learns_a_separable_task(backbone):
    attached, task = attach("lora", backbone, r=4), tiny_task(size=48)
    solution = train(attached, task, Training(steps=120, lr=0.02, evaluate_every=20))
    before, after = score(attached, task, attached.initial), score(attached, task, solution.vector)
    assert after.loss < before.loss
    assert after.value >= max(before.value, 75.0)


def test_divergence_is_told():
    with pytest.raises(DeltaspaceError, match="diverged at step 1"):
        fit([torch.ones(1)], lambda v, s: (v[0] * float("nan")).sum(), judge, Training(steps=3, lr=0.1))


def test_batches_show_every_example_once_an_epoch():
    items = [Item([0] * (1 + i % 5)) for i in range(40)]
    batches = Batches(items, 8, seed=7)
    seen = [items.index(item) for step in range(5) for item in batches.at(step)]
    assert sorted(seen) == list(range(40))
    assert seen != [items.index(item) for step in range(5, 10) for item in batches.at(step)]
    assert [items.index(item) for item in Batches(items, 8, seed=7).at(3)] == seen[24:32]


def test_full_batches_take_few_items_again_and_others_as_they_are():
    items = [Item([number]) for number in range(5)]
    for size in (2, 5):
        plain, full = Batches(items, size, 3), Batches(items, size, 3, full=True)
        assert [plain.at(step) for step in range(6)] == [full.at(step) for step in range(6)]
    assert [len(Batches(items, 8, 3).at(step)) for step in range(3)] == [5, 5, 5]
    wrapped = [Batches(items, 8, 3, full=True).at(step) for step in range(3)]
    assert [len(batch) for batch in wrapped] == [8, 8, 8]
    assert {item.input_ids[0] for batch in wrapped for item in batch} == set(range(5))
