"""Stage 1, subspace approximation: arXiv 2210.13311, section 3, joint decomposition of the source solutions.

Per step: I_t = down_t(D_t); weights w uniform on the simplex; I_w = sum_t w_t I_t; minimize over all projections

    sum_t [ task_loss(theta0_t + up_t(I_w)) + alpha * |D_t - up_t(I_t)| / s_t ]

The distance is in units of the displacements' norm s_t, so that no delta outweighs the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta, derived_seed
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Batch
from deltaspace.solutions import Scorer, Solution
from deltaspace.subspace.projection import Dense, initial_projections
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Task
from deltaspace.training import Batches, Progress, Score, Training, fit


def approximate(
    attached: Sequence[AttachedDelta],
    solutions: Sequence[Solution],
    tasks: Sequence[Task],
    *,
    dim: int,
    alpha: float = 1.0,
    settings: Training | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Subspace:
    """Decompose source solutions jointly into one subspace.

    Args:
        attached: the deltas, on one backbone.
        solutions: one for every delta and source task, in any order.
        tasks: the source tasks.
        dim: d.
        alpha: weight of the reconstruction.
        settings: `deltaspace.APPROXIMATE` by default.
        seed: decides the projections' initial values, the weights and the order of the examples.
        checkpoint, fingerprint, progress: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: a solution is missing, or the training diverges.
    """
    settings = settings or APPROXIMATE
    family = attached[0].backbone.family
    displacements = [_stack(delta, solutions, tasks) for delta in attached]
    initial = initial_projections(displacements, dim, derived_seed(seed, "projections"))
    batches = [
        Batches(family.encode(task, task.train), settings.batch_size, derived_seed(seed, "approximation", task.name))
        for task in tasks
    ]
    scorers = [[Scorer(delta, task, "dev") for task in tasks] for delta in attached]

    def projections(values: list[Tensor]) -> list[Dense]:
        return [dense.with_tensors(values[3 * i : 3 * i + 3]) for i, dense in enumerate(initial)]

    def codes(dense: Sequence[Dense]) -> Tensor:
        # (deltas, tasks, dim)
        return torch.stack([p.encode(d) for p, d in zip(dense, displacements, strict=True)])

    def loss(values: list[Tensor], step: int) -> Tensor:
        dense = projections(values)
        index = step % len(tasks)
        batch = family.collate(batches[index].at(step // len(tasks)))
        weights = _simplex(len(attached), derived_seed(seed, "weights", str(step)))
        return joint_loss(attached, dense, [d[index] for d in displacements], weights, alpha, batch)

    def evaluate(values: list[Tensor]) -> Score:
        dense = projections(values)
        mean = codes(dense).mean(0)
        found = [
            scorer.score(delta.initial + projection.decode(mean[i : i + 1])[0])
            for delta, projection, row in zip(attached, dense, scorers, strict=True)
            for i, scorer in enumerate(row)
        ]
        count = len(found)
        return Score(sum(s.metric for s in found) / count, sum(s.loss for s in found) / count, found[0].count)

    found = fit(
        [tensor for dense in initial for tensor in dense.tensors()],
        loss,
        evaluate,
        settings,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        progress=progress,
    )
    dense = projections(found.parameters)
    start = codes(dense).mean((0, 1))
    history = {"steps": found.steps, "seconds": found.seconds, "best_step": found.best_step, "curve": found.curve}
    return Subspace(
        dim,
        attached[0].backbone.fingerprint,
        {delta.name: delta.initial for delta in attached},
        {delta.name: projection for delta, projection in zip(attached, dense, strict=True)},
        start,
        history,
    )


def joint_loss(
    attached: Sequence[AttachedDelta],
    projections: Sequence[Dense],
    displacements: Sequence[Float[Tensor, " _"]],
    weights: Float[Tensor, " deltas"],
    alpha: float,
    batch: Batch,
) -> Float[Tensor, ""]:
    """The loss of one step on one source task (see the top of this file): its displacements of all deltas, one batch of it."""
    own = torch.stack([p.encode(d.unsqueeze(0))[0] for p, d in zip(projections, displacements, strict=True)])
    mixed = weights.to(own.device) @ own
    total = own.new_zeros(())
    for row, (delta, projection, displacement) in enumerate(zip(attached, projections, displacements, strict=True)):
        # One product decodes the interpolated code and the delta's own.
        decoded = projection.decode(torch.stack([mixed, own[row]]))
        distance = (displacement - decoded[1]).norm() / projection.scale
        total = total + delta.loss(delta.initial + decoded[0], batch) + alpha * distance
    return total


def _stack(delta: AttachedDelta, solutions: Sequence[Solution], tasks: Sequence[Task]) -> Tensor:
    found = {solution.task: solution.displacement for solution in solutions if solution.delta == delta.name}
    if missing := [task.name for task in tasks if task.name not in found]:
        raise DeltaspaceError(
            f"no solution of {delta.name} for the source task {missing[0]}", expected="one for every delta and task"
        )
    return torch.stack([found[task.name] for task in tasks])


def _simplex(count: int, seed: int) -> Tensor:
    # Normalized exponentials are uniform on the simplex.
    draws = torch.empty(count).exponential_(generator=torch.Generator().manual_seed(seed))
    return draws / draws.sum()


APPROXIMATE = Training(steps=100, lr=2e-3, batch_size=8, evaluate_every=25)
