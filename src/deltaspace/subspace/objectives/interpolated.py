"""The paper's objective: arXiv 2210.13311, section 3.

For each source task of a batch: I_t = down_t(D_t); weights w uniform on the simplex; I_w = sum_t w_t I_t; the mean over these
tasks of

    sum_t [ task_loss(theta0_t + up_t(I_w)) + alpha * |D_t - up_t(I_t)| ]

The distance is in the units of the delta's displacements, so that no delta outweighs the others. One batch mixes the tasks: each
delta decodes all their codes in one product and runs the model once, every task's parameters on its own part of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Batch
from deltaspace.seeds import derived_seed
from deltaspace.subspace.fitting.method import Problem
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.fitting.trainable import Trainable
from deltaspace.training import Batches


class Interpolated:
    """Task loss of every delta at interpolated codes of the source tasks, and the reconstruction.

    Args:
        problem: deltas, source tasks and how they are drawn.
        shared: interpolate the deltas' codes; otherwise every delta stays at its own.
    """

    def __init__(self, problem: Problem, shared: bool) -> None:
        self._problem, self._shared = problem, shared
        settings, seed = problem.settings, problem.seed
        self._family = problem.attached[0].backbone.family
        self._count = min(settings.tasks, len(problem.tasks))
        each = max(1, settings.batch_size // self._count)
        self._batches = [
            Batches(self._family.encode(task, task.train), each, derived_seed(seed, "approximation", task.name), full=True)
            for task in problem.tasks
        ]

    def parts(self, trainables: Sequence[Trainable], step: int) -> Iterator[Float[Tensor, ""]]:
        """See `Objective`; one part for each delta."""
        problem, settings = self._problem, self._problem.settings
        sizes = [len(task.train) for task in problem.tasks]
        tasks = draw_tasks(sizes, self._count, settings.temperature, derived_seed(problem.seed, "tasks", str(step)))
        batch = self._family.collate([item for task in tasks for item in self._batches[task].at(step)])
        drawn = draw_weights(self._count, len(problem.attached), derived_seed(problem.seed, "weights", str(step)))
        weights = drawn if self._shared else None
        return joint_loss(problem.attached, problem.sources, trainables, tasks, weights, settings.alpha, batch)


def joint_loss(
    attached: Sequence[AttachedDelta],
    sources: Sequence[Source],
    trainables: Sequence[Trainable],
    tasks: Sequence[int],
    weights: Float[Tensor, "batch_tasks deltas"] | None,
    alpha: float,
    batch: Batch,
) -> Iterator[Float[Tensor, ""]]:
    """The loss of one step (see the top of this file), each delta's part of it at a time.

    Args:
        attached: the deltas.
        sources: their source solutions.
        trainables: their maps.
        tasks: the source tasks of this batch, as rows of the displacements.
        weights: how the deltas' codes are interpolated; without them every delta stays at its own code.
        alpha: weight of the reconstruction.
        batch: of each of these tasks an equal part, in their order.
    """
    for index, (delta, source, trainable) in enumerate(zip(attached, sources, trainables, strict=True)):
        # Computed again for every delta: a delta's part is backpropagated, and its graph freed, before the next delta's is made.
        codes = torch.stack([other.codes()[list(tasks)] for other in trainables])
        mixed = codes[index] if weights is None else torch.einsum("gt,tgd->gd", weights.to(codes), codes)
        displacements = source.displacements.take(tasks)
        vectors, distances = trainable.decode_and_compare(mixed, codes[index], delta.initial, displacements)
        yield delta.loss(vectors, batch) + alpha * distances.mean() / math.sqrt(len(trainable.units))


def draw_tasks(sizes: Sequence[int], count: int, temperature: float | None, seed: int) -> list[int]:
    """`count` different tasks, drawn in proportion to their sizes to the power 1 / temperature; equally without one."""
    chances = torch.tensor(sizes, dtype=torch.float64) ** (0.0 if temperature is None else 1 / temperature)
    drawn: list[int] = torch.multinomial(chances, count, generator=torch.Generator().manual_seed(seed)).tolist()
    return drawn


def draw_weights(rows: int, count: int, seed: int) -> Float[Tensor, "rows count"]:
    """Rows that are uniform on the simplex: normalized exponentials."""
    draws = torch.empty(rows, count).exponential_(generator=torch.Generator().manual_seed(seed))
    return draws / draws.sum(1, keepdim=True)
