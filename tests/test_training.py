"""The training loop: it learns, keeps the best, stops early, and resumes to the same numbers."""

from __future__ import annotations

import pytest
import torch

from deltaspace import training
from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import score, train
from deltaspace.training import Batches, Score, Training, fit
from tests.tiny import tiny_backbone, tiny_task


def quadratic(values, step):
    return ((values[0] - 3 + 0.1 * (step % 3)) ** 2).sum()


def judge(values):
    loss = float(((values[0] - 3) ** 2).sum())
    return Score(-loss, loss, 1)


def test_the_loop_minimizes_and_leaves_its_start_alone():
    start = torch.zeros(4)
    found = fit([start], quadratic, judge, Training(steps=200, lr=0.1, evaluate_every=20, clip=100))
    assert found.best.loss < 0.1
    assert start.equal(torch.zeros(4))
    assert found.steps == 200
    assert len(found.curve) == 11


def test_patience_stops_and_the_best_is_kept():
    scores = iter([1.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    found = fit(
        [torch.zeros(1)],
        quadratic,
        lambda _: Score(next(scores), 0.0, 1),
        Training(steps=99, lr=0.1, evaluate_every=1, patience=3),
    )
    assert (found.best_step, found.best.metric, found.steps) == (1, 5.0, 4)


@pytest.mark.parametrize("stop", [4, 5, 11, 29])
def test_a_killed_training_ends_with_the_same_numbers(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", -1.0)
    settings = Training(steps=30, lr=0.05, evaluate_every=2, batch_size=4)
    attached, task = attach("lora", tiny_backbone("bert"), r=2), tiny_task()
    unbroken = train(attached, task, settings)

    def killed(step, steps, text):
        if step == stop:
            raise KeyboardInterrupt

    path = tmp_path / "running.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(attached, task, settings, checkpoint=path, fingerprint="a", progress=killed)
    assert path.exists()
    resumed = train(attached, task, settings, checkpoint=path, fingerprint="a")
    assert resumed.vector.equal(unbroken.vector)
    assert resumed.fit.curve == unbroken.fit.curve


def test_a_checkpoint_of_another_recipe_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", -1.0)
    attached, task, settings = (
        attach("lora", tiny_backbone("bert"), r=2),
        tiny_task(),
        Training(steps=4, lr=0.05, evaluate_every=1),
    )
    path = tmp_path / "running.safetensors"
    train(attached, task, settings, checkpoint=path, fingerprint="a")
    other = train(attached, task, settings, seed=1, checkpoint=path, fingerprint="b")
    assert other.vector.equal(train(attached, task, settings, seed=1).vector)


def test_training_learns_a_separable_task(backbone):
    attached, task = attach("lora", backbone, r=4), tiny_task(size=48)
    found = train(attached, task, Training(steps=120, lr=0.02, evaluate_every=20))
    before, after = score(attached, task, attached.initial), score(attached, task, found.vector)
    assert after.loss < before.loss
    assert after.metric >= max(before.metric, 75.0)


def test_divergence_is_told():
    with pytest.raises(DeltaspaceError, match="diverged at step 1"):
        fit([torch.ones(1)], lambda v, s: (v[0] * float("nan")).sum(), judge, Training(steps=3, lr=0.1))


def test_batches_show_every_example_once_an_epoch():
    items = [{"input_ids": [0] * (1 + i % 5), "id": i} for i in range(40)]
    batches = Batches(items, 8, seed=7)
    seen = [item["id"] for step in range(5) for item in batches.at(step)]
    assert sorted(seen) == list(range(40))
    assert seen != [item["id"] for step in range(5, 10) for item in batches.at(step)]
    assert [item["id"] for item in Batches(items, 8, seed=7).at(3)] == seen[24:32]
