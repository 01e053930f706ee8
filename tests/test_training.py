"""The training loop: it learns, keeps the best, stops early, and resumes to the same numbers."""

from __future__ import annotations

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.scoring import score
from deltaspace.solutions import train
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


def test_the_state_of_another_recipe_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    attached, task, settings = (
        attach("lora", tiny_backbone("bert"), r=2),
        tiny_task(),
        Training(steps=4, lr=0.05, evaluate_every=1),
    )
    path = tmp_path / "running.safetensors"
    train(attached, task, settings, resume=Resume(path, "a"))
    other = train(attached, task, settings, seed=1, resume=Resume(path, "b"))
    assert other.vector.equal(train(attached, task, settings, seed=1).vector)


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
