"""The prior of stage 2: vectors stay near the source tasks' codes, whichever start they come from."""

from __future__ import annotations

import torch

from deltaspace.deltas import attach
from deltaspace.solutions import Solution
from deltaspace.subspace import Optimization, approximate, optimize
from deltaspace.subspace.codes import radius_of
from deltaspace.training import Fit, Score
from tests.tiny import tiny_backbone, tiny_task

NO_FIT = Fit([], Score(0.0, 0.0, 0), 0, 0, 0.0)


def tuned(prior, **settings):
    lora = attach("lora", tiny_backbone("sentence"), r=2)
    tasks = [tiny_task("one"), tiny_task("two", size=30)]
    generator = torch.Generator().manual_seed(1)
    moved = [0.3 * torch.randn(lora.layout.size, generator=generator) for _ in tasks]
    solutions = [Solution("lora", task.name, lora.initial + d, d, NO_FIT) for task, d in zip(tasks, moved, strict=True)]
    subspace = approximate([lora], solutions, tasks, dim=6)
    how = Optimization(steps=30, lr=0.2, evaluate_every=30, batch_size=8, prior=prior, **settings)
    result = optimize(subspace, lora, tiny_task("three", size=40), how)
    return radius_of(result.trajectory[-1:], subspace.codes_of("lora")).item(), result


def test_a_prior_keeps_vectors_near_the_codes():
    free, held = tuned(0.0)[0], tuned(10.0)[0]
    assert free > 0.2
    assert held < free / 2


def test_without_a_prior_nothing_changes():
    first, second = tuned(0.0)[1], tuned(1e-12)[1]
    assert torch.allclose(first.vector, second.vector, atol=1e-5)


def test_several_starts_each_have_their_prior():
    several = tuned(10.0, starts=("mean", "zero"), factors=(1.0, 0.5))[1]
    assert several.start in ("mean", "zero")
    assert several.trajectory.shape == (31, 6)
