"""Trainings side by side end with the numbers that each has alone."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import Interrupted
from deltaspace.solutions import train, train_each
from deltaspace.subspace import Optimization, approximate, optimize
from deltaspace.subspace.stages.optimize import optimize_each
from deltaspace.tasks import Example, make_task
from deltaspace.training import Resume, Training, loop
from tests.tiny import examples, tiny_backbone, tiny_task

HOW = Training(steps=12, lr=0.02, batch_size=4, evaluate_every=2, patience=2)
NEAR = 1e-5


def tasks(generated=False):
    """Three tasks that differ in their length, their texts, and in how many labels they have."""
    if generated:
        splits = {"train": examples(24), "dev": examples(8, 100), "test": examples(8, 200)}
        return [make_task(name, splits, kind="generation", source="made in the test") for name in ("first", "second")]
    turned = {"happy": "sad", "sad": "happy"}
    second = tiny_task("second", size=40)
    second = replace(second, train=tuple(Example(e.input + " good", turned[e.target]) for e in second.train))
    third = replace(tiny_task("third"), labels={"happy": "happy", "sad": "sad", "good": "good"})
    return [tiny_task("first"), second, third]


def exact(architecture):
    """A tiny PLM in fp64: Adam makes as large a step of a rounding as of a gradient, and processors round differently."""
    backbone = tiny_backbone(architecture)
    backbone.model.double()
    return backbone


def same(alone, together):
    assert [len(solution.fit.curve) for solution in together] == [len(solution.fit.curve) for solution in alone]
    for single, beside in zip(alone, together, strict=True):
        assert (single.task, single.delta) == (beside.task, beside.delta)
        assert torch.allclose(single.vector, beside.vector, atol=NEAR)
        assert torch.allclose(torch.tensor(single.fit.curve), torch.tensor(beside.fit.curve), atol=1e-4)
        assert single.fit.best_step == beside.fit.best_step


@pytest.mark.parametrize("architecture", ["sentence", "bert", "gpt2", "t5"])
def test_solutions_are_those_of_one_task_alone(architecture):
    lora = attach("lora", tiny_backbone(architecture), r=2)
    same([train(lora, task, HOW) for task in tasks()], train_each(lora, tasks(), HOW))


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_generated_tasks_too(architecture):
    lora = attach("lora", exact(architecture), r=2)
    same([train(lora, task, HOW) for task in tasks(True)], train_each(lora, tasks(True), HOW))


def test_gradients_of_several_batches_are_summed_for_each():
    lora, how = attach("lora", tiny_backbone("sentence"), r=2), HOW.model_copy(update={"accumulate": 3})
    same([train(lora, task, how) for task in tasks()], train_each(lora, tasks(), how))


def test_one_pass_serves_all(monkeypatch):
    lora, passes = attach("lora", tiny_backbone("sentence"), r=2), []
    call = type(lora).call
    monkeypatch.setattr(type(lora), "call", lambda self, v, f: (passes.append(v.dim() > 1 and len(v)), call(self, v, f))[1])
    train_each(lora, tasks(), HOW.model_copy(update={"patience": None}))
    assert passes.count(3) == HOW.steps


@pytest.mark.parametrize("method", ["finetune", "lora"])
def test_what_cannot_share_a_pass_is_trained_one_after_another(method, monkeypatch):
    delta = attach(method, tiny_backbone("sentence"))
    few = [tiny_task("first"), tiny_task("second", size=3, kind="classification")] if method == "lora" else tasks()
    monkeypatch.setattr("deltaspace.solutions.fit_each", lambda *_, **__: pytest.fail("in one pass"))
    same([train(delta, task, HOW) for task in few], train_each(delta, few, HOW))


def space(architecture="sentence"):
    plm = tiny_backbone(architecture)
    deltas = attach("lora", plm, r=2), attach("adapter", plm, bottleneck=3), attach("prefix", plm)
    return approximate(deltas, [], [], dim=6, projection="gaussian"), deltas


@pytest.mark.parametrize("architecture", ["sentence", "bert", "gpt2", "t5"])
@pytest.mark.parametrize("settings", [{}, {"agreement": 3.0}, {"starts": ("zero", "mean"), "factors": (0.5, 1.0)}])
def test_vectors_are_those_of_one_task_alone(architecture, settings):
    (subspace, deltas), how = space(architecture), Optimization(**{**HOW.model_dump(), "lr": 0.1, **settings})
    others = deltas[1:]
    alone = [optimize(subspace, deltas[0], task, how, others=others) for task in tasks()]
    together = optimize_each(subspace, deltas[0], tasks(), how, others=others)
    same(alone, together)
    for single, beside in zip(alone, together, strict=True):
        assert (single.start, single.factor) == (beside.start, beside.factor)
        assert torch.allclose(single.trajectory, beside.trajectory, atol=1e-4)


def test_vectors_that_are_held_near_the_codes():
    plm = tiny_backbone("sentence")
    lora = attach("lora", plm, r=2)
    solutions = [train(lora, task, HOW) for task in tasks()[:2]]
    subspace = approximate([lora], solutions, tasks()[:2], dim=2, projection="svd")
    how = Optimization(**{**HOW.model_dump(), "lr": 0.1, "prior": 0.5})
    same([optimize(subspace, lora, task, how) for task in tasks()], optimize_each(subspace, lora, tasks(), how))


def test_other_searchers_tune_one_after_another():
    (subspace, deltas), how = space(), Optimization(steps=3, lr=0.5, batch_size=4, evaluate_every=1, optimizer="lbfgs")
    alone = [optimize(subspace, deltas[0], task, how) for task in tasks()]
    for single, beside in zip(alone, optimize_each(subspace, deltas[0], tasks(), how), strict=True):
        assert torch.equal(single.vector, beside.vector)


def test_killed_trainings_go_on_and_end_the_same(tmp_path, monkeypatch):
    lora = attach("lora", tiny_backbone("sentence"), r=2)
    whole = train_each(lora, tasks(), HOW)
    resumes = [Resume(tmp_path / f"{task.name}.safetensors", task.name) for task in tasks()]
    told = []

    def interrupt(*_):
        told.append(_)
        if len(told) == 8:
            raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_SAVE_SECONDS", -1.0)
        stopped = [replace(resumes[0], progress=interrupt), *resumes[1:]]
        with pytest.raises(Interrupted):
            train_each(lora, tasks(), HOW, resumes=stopped)
    assert all(resume.state.exists() for resume in resumes)
    same(whole, train_each(lora, tasks(), HOW, resumes=resumes))
    # And alone: where each is does not depend on what was beside it.
    again = train(lora, tasks()[1], HOW, resume=resumes[1])
    assert torch.allclose(again.vector, whole[1].vector, atol=NEAR)


def test_one_that_diverges_ends_all():
    lora = attach("lora", tiny_backbone("sentence"), r=2)
    with pytest.raises(DeltaspaceError, match="the training diverged at step"):
        train_each(lora, tasks(), HOW.model_copy(update={"lr": 1e38, "clip": 1e38}))


def test_the_time_is_shared():
    lora = attach("lora", tiny_backbone("sentence"), r=2)
    started = time.perf_counter()
    together = train_each(lora, tasks(), HOW)
    assert 0 < sum(solution.fit.seconds for solution in together) <= time.perf_counter() - started
