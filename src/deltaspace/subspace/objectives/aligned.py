"""Task loss, agreement and reconstruction together: arXiv 2210.13311, section 3, and agreement between the deltas' functions.

    sum over deltas t of
        task * task_loss_i( theta0_t + offset_t + up_t(c_i) )
      + agreement * mean over x of |f_t(x; c) - target(x; c)|^2 / V
      + reconstruction * |D_t^i - offset_t - up_t(c_i)| / s_t

c_i: the code of a source task, the same for all deltas; c: vectors drawn around these (`codes.draw_codes`), from near ones to
farther ones as the training goes on; f: what the PLM decides by; target: the mean of the deltas' f, or that of a leader. A weight
of 0 leaves its term out. Agreement reads no targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.families import Item
from deltaspace.seeds import derived_seed
from deltaspace.subspace.agreement import probe_seed
from deltaspace.subspace.codes import draw_codes
from deltaspace.subspace.fitting.method import Problem
from deltaspace.subspace.fitting.trainable import Trainable
from deltaspace.subspace.objectives.interpolated import draw_tasks
from deltaspace.training import Batches

CONSENSUS, TURNS = "consensus", "turns"


@dataclass(frozen=True)
class Weights:
    """How the terms are weighed, and which vectors are drawn.

    Args:
        task, agreement, reconstruction: weights of the terms.
        leader: whom the others follow: `consensus`, `turns`, or a delta's name.
        vectors: how many are drawn a step.
        texts: for each of them.
        reach, near, far: see `codes.draw_codes`; the largest radius grows from near to far.
    """

    task: float
    agreement: float
    reconstruction: float
    leader: str
    vectors: int
    texts: int
    reach: float
    near: float
    far: float


class Aligned:
    """The objective at the top of this file.

    Args:
        problem: deltas, source tasks and how they are drawn.
        weights: see there.
        texts: encoded texts, of which agreement takes some each step.
        variance: V, of the deltas' decisions over vectors.
    """

    def __init__(self, problem: Problem, weights: Weights, texts: Sequence[Item], variance: float) -> None:
        self._problem, self._weights, self._variance = problem, weights, variance
        settings, seed = problem.settings, problem.seed
        self._family = problem.attached[0].backbone.family
        self._count = min(settings.tasks, len(problem.tasks))
        each = max(1, settings.batch_size // self._count)
        self._batches = [
            Batches(self._family.encode(task, task.train), each, derived_seed(seed, "approximation", task.name))
            for task in problem.tasks
        ]
        size = weights.vectors * weights.texts
        # A batch is shared equally by the vectors: few texts are taken several times.
        self._texts = Batches(list(texts) * -(-size // len(texts)), size, probe_seed(seed, "texts"))

    def parts(self, trainables: Sequence[Trainable], step: int) -> Iterator[Float[Tensor, ""]]:
        """See `Objective`; one part for each delta."""
        problem, weights = self._problem, self._weights
        sizes = [len(task.train) for task in problem.tasks]
        tasks = draw_tasks(sizes, self._count, problem.settings.temperature, derived_seed(problem.seed, "tasks", str(step)))
        codes = trainables[0].codes()
        at_tasks = codes[tasks]
        drawn = draw_codes(codes, weights.vectors, weights.reach, self._radius(step), probe_seed(problem.seed, str(step)))
        count = len(tasks) if weights.task else 0
        mixed = torch.cat([at_tasks[:count], drawn[: weights.vectors if weights.agreement else 0]])
        compared = tasks if weights.reconstruction else []
        decoded, decided = [], []
        for delta, source, trainable in zip(problem.attached, problem.sources, trainables, strict=True):
            displacements = source.displacements.take(compared)
            decoded.append(trainable.decode_and_compare(mixed, codes[compared], delta.initial, displacements))
        if weights.agreement:
            batch = self._family.collate(self._texts.at(step))
            decided = [
                delta.decision(vectors[count:], batch) for delta, (vectors, _) in zip(problem.attached, decoded, strict=True)
            ]
            target = self._target(decided, step)
        task_batch = self._family.collate([item for task in tasks for item in self._batches[task].at(step)])
        for index, (delta, (vectors, distances)) in enumerate(zip(problem.attached, decoded, strict=True)):
            part = vectors.new_zeros(())
            if weights.task:
                part = part + weights.task * delta.loss(vectors[:count], task_batch)
            if weights.agreement:
                apart = (decided[index] - target).square().sum(1).mean()
                part = part + weights.agreement * apart / self._variance
            if weights.reconstruction:
                part = part + weights.reconstruction * distances.mean() / math.sqrt(len(trainables[index].units))
            yield part

    def _target(self, decided: Sequence[Tensor], step: int) -> Float[Tensor, "batch features"]:
        """What every delta is drawn to, as a constant; for the mean of all, the sum over deltas has the same gradient so."""
        if self._weights.leader == CONSENSUS:
            return torch.stack([out.detach() for out in decided]).mean(0)
        names = [delta.name for delta in self._problem.attached]
        leader = step % len(names) if self._weights.leader == TURNS else names.index(self._weights.leader)
        return decided[leader].detach()

    def _radius(self, step: int) -> tuple[float, float]:
        # The first half of the steps goes outwards: far vectors, drawn from the start, do not train (docs/results.md).
        share = min(1.0, step / max(1, self._problem.settings.steps / 2))
        return 0.0, self._weights.near + share * (self._weights.far - self._weights.near)
