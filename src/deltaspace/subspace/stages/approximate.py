"""Stage 1, subspace approximation: arXiv 2210.13311, section 3, joint decomposition of the source solutions.

A step takes some source tasks; for each: I_t = down_t(D_t); weights w uniform on the simplex; I_w = sum_t w_t I_t; minimize over
all projections the mean over these tasks of

    sum_t [ task_loss(theta0_t + up_t(I_w)) + alpha * |D_t - up_t(I_t)| ]

The distance is in the units of the delta's displacements, so that no delta outweighs the others. One batch mixes the tasks: each
delta decodes all their codes in one product and runs the model once, every task's parameters on its own part of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.seeds import derived_seed
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Batch
from deltaspace.solutions import Scorer, Solution
from deltaspace.subspace.lowrank import LowRankAdafactor, LowRankGradient
from deltaspace.subspace.methods import Decomposition, Projection, find_projection
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.methods.displacements import InMemory, Rows
from deltaspace.subspace.methods.trainable import Trainable
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Task
from deltaspace.training import Batches, Progress, Score, Training, fit


class Approximation(Training):
    """How the approximation trains."""

    tasks: int = Field(4, ge=1, description="source tasks in a batch, which they share equally")
    temperature: float | None = Field(
        None,
        gt=0,
        description="tasks are drawn in proportion to their training examples to the power 1 / temperature; none: equally",
    )
    dev: int = Field(100, ge=1, description="dev examples of each source task that an evaluation takes")


def approximate(
    attached: Sequence[AttachedDelta],
    solutions: Sequence[Solution] | Mapping[str, Rows],
    tasks: Sequence[Task],
    *,
    dim: int,
    projection: str | Decomposition = "svd",
    alpha: float = 1.0,
    settings: Approximation | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Subspace:
    """Decompose source solutions jointly into one subspace.

    Args:
        attached: the deltas, on one backbone.
        solutions: one for every delta and source task, in any order; or of every delta the displacements in the order of
            `tasks`, which may lie in files larger than memory together. Random projections need none.
        tasks: the source tasks.
        dim: d.
        projection: which kind, a name of `deltaspace.subspace.PROJECTIONS` or one with settings.
        alpha: weight of the reconstruction.
        settings: `deltaspace.APPROXIMATE` by default; only learned projections are trained.
        seed: decides the projections' initial values, the weights, the order of the tasks and of their examples.
        checkpoint, fingerprint, progress: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: a solution is missing, d does not suit the projections, or the training diverges.
    """
    settings = settings or APPROXIMATE
    method = find_projection(projection) if isinstance(projection, str) else projection
    displacements = [_displacements(delta, solutions, tasks, method) for delta in attached]
    sizes = [delta.layout.sizes for delta in attached]
    drawn = derived_seed(seed, "projections")
    large = [delta.delta.large for delta in attached]
    if isinstance(method, DenseAutoencoder):
        start = method.trainables(displacements, sizes, dim, drawn, large)
        trained, history = _train(
            attached, start, displacements, tasks, method.shared, alpha, settings, seed, checkpoint, fingerprint, progress
        )
        projections: list[Projection] = [trainable.fixed(d) for trainable, d in zip(trained, displacements, strict=True)]
        codes = torch.stack([trainable.codes() for trainable in trained])
    else:
        projections, history = method.make(displacements, sizes, dim, drawn, large), {}
        codes = torch.stack([_codes(p, d, dim) for p, d in zip(projections, displacements, strict=True)])
    return Subspace(
        dim,
        attached[0].backbone.fingerprint,
        {delta.name: delta.initial for delta in attached},
        {delta.name: found for delta, found in zip(attached, projections, strict=True)},
        tuple(task.name for task in tasks) if codes.shape[1] else (),
        codes,
        method.shared,
        history,
        attached[0].backbone.name,
        {delta.name: delta.settings() for delta in attached},
        attached[0].seed,
        attached[0].backbone.family.name,
    )


def _train(
    attached: Sequence[AttachedDelta],
    start: Sequence[Trainable],
    displacements: Sequence[Rows],
    tasks: Sequence[Task],
    shared: bool,
    alpha: float,
    settings: Approximation,
    seed: int,
    checkpoint: Path | None,
    fingerprint: str,
    progress: Progress | None,
) -> tuple[list[Trainable], dict[str, object]]:
    family = attached[0].backbone.family
    count = min(settings.tasks, len(tasks))
    each = max(1, settings.batch_size // count)
    batches = [Batches(family.encode(t, t.train), each, derived_seed(seed, "approximation", t.name)) for t in tasks]
    dev = [family.encode(task, task.dev[: settings.dev]) for task in tasks]
    scorers = [
        [Scorer(delta, task, "dev", items, limit=settings.dev) for task, items in zip(tasks, dev, strict=True)]
        for delta in attached
    ]
    gradients = [LowRankGradient() for _ in attached]

    def trainables(values: Sequence[Tensor]) -> list[Trainable]:
        return [trainable.with_trained(values[3 * i : 3 * i + 3]) for i, trainable in enumerate(start)]

    def loss(values: list[Tensor], step: int) -> Iterator[Tensor]:
        rows = _draw_tasks(
            [len(task.train) for task in tasks], count, settings.temperature, derived_seed(seed, "tasks", str(step))
        )
        batch = family.collate([item for row in rows for item in batches[row].at(step)])
        weights = _simplex(count, len(attached), derived_seed(seed, "weights", str(step)))
        return joint_loss(attached, trainables(values), displacements, rows, weights if shared else None, alpha, batch, gradients)

    def evaluate(values: list[Tensor]) -> Score:
        found = []
        own = [trainable.codes() for trainable in trainables(values)]
        mean = torch.stack(own).mean(0)
        for delta, trainable, codes, row in zip(attached, trainables(values), own, scorers, strict=True):
            at = mean if shared else codes
            # One task at a time: for fine-tuning, each is of the PLM's size.
            found += [s.score(delta.initial + trainable.decode(code.unsqueeze(0))[0]) for s, code in zip(row, at, strict=True)]
        return Score(sum(s.metric for s in found) / len(found), sum(s.loss for s in found) / len(found), found[0].count)

    found = fit(
        [tensor for trainable in start for tensor in trainable.trained()],
        loss,
        evaluate,
        settings,
        optimizer=lambda values: LowRankAdafactor(
            values,
            [kind for own, part in zip(gradients, start, strict=True) for kind in (None, None, own if part.factored else None)],
        ),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        progress=progress,
    )
    history = {"steps": found.steps, "seconds": found.seconds, "best_step": found.best_step, "curve": found.curve}
    return trainables(found.parameters), history


def joint_loss(
    attached: Sequence[AttachedDelta],
    trainables: Sequence[Trainable],
    displacements: Sequence[Rows],
    rows: Sequence[int],
    weights: Float[Tensor, "batch_tasks deltas"] | None,
    alpha: float,
    batch: Batch,
    gradients: Sequence[LowRankGradient],
) -> Iterator[Float[Tensor, ""]]:
    """The loss of one step (see the top of this file), each delta's part of it at a time.

    Args:
        attached: the deltas.
        trainables: their projections.
        displacements: of every delta and source task.
        rows: the source tasks of this batch.
        weights: how their deltas' codes are interpolated; without them every delta stays at its own code.
        alpha: weight of the reconstruction.
        batch: of each of these tasks an equal part, in their order.
        gradients: where the gradient of each delta's U is put.
    """
    for index, (delta, trainable, displacement) in enumerate(zip(attached, trainables, displacements, strict=True)):
        # Anew for each delta, whose part is gone back through before the next one's is made.
        own = torch.stack([other.codes()[list(rows)] for other in trainables])
        mixed = torch.einsum("gt,tgd->gd", weights.to(own), own) if weights is not None else None
        at = mixed if mixed is not None else own[index]
        vectors, distances = trainable.decode_and_compare(
            at, own[index], delta.initial, displacement.take(rows), gradients[index]
        )
        yield delta.loss(vectors, batch) + alpha * distances.mean() / math.sqrt(len(trainable.units))


def _displacements(
    delta: AttachedDelta, solutions: Sequence[Solution] | Mapping[str, Rows], tasks: Sequence[Task], method: Decomposition
) -> Rows:
    if not solutions and not method.needs_solutions:
        return InMemory(delta.initial.new_zeros(0, delta.layout.size))
    if isinstance(solutions, Mapping):
        rows = solutions.get(delta.name)
        if rows is None or tuple(rows.shape) != (len(tasks), delta.layout.size):
            raise DeltaspaceError(
                f"the displacements of {delta.name} do not fit",
                found="none" if rows is None else "{} x {}".format(*rows.shape),
                expected=f"one of {delta.layout.size} numbers for each of {len(tasks)} source tasks",
            )
        return rows
    found = {solution.task: solution.displacement for solution in solutions if solution.delta == delta.name}
    if missing := [task.name for task in tasks if task.name not in found]:
        raise DeltaspaceError(
            f"no solution of {delta.name} for the source task {missing[0]}", expected="one for every delta and task"
        )
    return InMemory(torch.stack([found[task.name] for task in tasks]))


def _codes(projection: Projection, displacements: Rows, dim: int) -> Tensor:
    # One task at a time: the displacements may be larger than memory.
    found = [projection.encode(displacements.take([task])) for task in range(displacements.shape[0])]
    return torch.cat(found) if found else torch.zeros(0, dim, device=displacements.device)


def _draw_tasks(sizes: Sequence[int], count: int, temperature: float | None, seed: int) -> list[int]:
    chances = torch.tensor(sizes, dtype=torch.float64) ** (0.0 if temperature is None else 1 / temperature)
    return torch.multinomial(chances, count, generator=torch.Generator().manual_seed(seed)).tolist()


def _simplex(rows: int, count: int, seed: int) -> Tensor:
    # Normalized exponentials are uniform on the simplex.
    draws = torch.empty(rows, count).exponential_(generator=torch.Generator().manual_seed(seed))
    return draws / draws.sum(1, keepdim=True)


APPROXIMATE = Approximation(steps=100, lr=2e-3, batch_size=8, evaluate_every=25)
