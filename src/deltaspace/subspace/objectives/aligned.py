"""Task loss, agreement and reconstruction together: arXiv 2210.13311, section 3, and agreement between the deltas' functions.

    sum over deltas t of
        task * task_loss_i( theta0_t + offset_t + up_t(c_i) )
      + distillation * |f_t(.; c_i) - g_i|^2 / (S_i + SMALL)
      + agreement * mean over c of |f_t(.; c) - target(.; c)|^2 / (S(c) + SMALL)
      + isometry * mean over pairs c, c' of (cos(change(c), change(c')) - cos(c, c'))^2 / deltas
      + reconstruction * |D_t^i - offset_t - up_t(c_i)| / s_t

    change(c) = target(.; c) - f_0, less its mean over x;    S(c) = |change(c)|^2

c_i: the code of a source task, the same for all deltas; c: vectors drawn around these (`codes.draw_codes`), from near ones to
farther ones as the training goes on; x: texts, the same for all vectors c of a step, and the task's for c_i; |.|^2: mean over x;
f: what the PLM decides by, f_0: before anything is tuned; target: the mean of the deltas' f, or that of a leader; g_i: the mean
of f over the deltas' independent solutions of the task, S_i its change as S is the target's. A weight of 0 leaves its term out.
Agreement and distillation read no targets.

What deltas differ in is told as a share of what the vector changes, for each vector alone, and the mean of all deltas is trained
to change as well as to agree: otherwise agreement is had by doing nothing, and the directions die away. What counts as a change
is what differs from text to text: one that is the same for every text is easy to agree on and decides nothing. And the changes
must be as different from one another as the vectors are: otherwise agreement is had by doing one thing at every vector, and there
is nothing left in the space to be found. What the space began with, the source tasks' functions, it would lose on the way:
distillation holds it to them (docs/results.md has the figures of all four).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from deltaspace.families import Batch, Item
from deltaspace.seeds import derived_seed
from deltaspace.subspace.agreement import SMALL, decisions_of, drawn_states, probe_seed
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
        task, distillation, agreement, isometry, reconstruction: weights of the terms.
        task_every: the task loss is taken every so many steps, and weighs as many times more then.
        leader: whom the others follow: `consensus`, `turns`, or a delta's name.
        vectors: how many are drawn a step.
        texts: how many they share, two or more.
        reach, near, far: see `codes.draw_codes`; the largest radius grows from near to far.
        continued: see `agreement.drawn_states`.
    """

    task: float
    distillation: float
    agreement: float
    isometry: float
    reconstruction: float
    task_every: int
    leader: str
    vectors: int
    texts: int
    reach: float
    near: float
    far: float
    continued: int = 0


class Aligned:
    """The objective at the top of this file.

    Args:
        problem: deltas, source tasks and how they are drawn.
        weights: see there.
        texts: encoded texts, of which agreement takes some each step.
    """

    def __init__(self, problem: Problem, weights: Weights, texts: Sequence[Item]) -> None:
        self._problem, self._weights = problem, weights
        settings, seed = problem.settings, problem.seed
        self._family = problem.attached[0].backbone.family
        self._count = min(settings.tasks, len(problem.tasks))
        # What differs from text to text takes two of them.
        each = max(2 if weights.distillation else 1, settings.batch_size // self._count)
        self._batches = [
            Batches(self._family.encode(task, task.train), each, derived_seed(seed, "approximation", task.name), full=True)
            for task in problem.tasks
        ]
        self._texts = Batches(texts, weights.texts, probe_seed(seed, "texts"), full=True)

    def parts(self, trainables: Sequence[Trainable], step: int) -> Iterator[Float[Tensor, ""]]:
        """See `Objective`; one part for each delta."""
        problem, weights = self._problem, self._weights
        sizes = [len(task.train) for task in problem.tasks]
        tasks = draw_tasks(sizes, self._count, problem.settings.temperature, derived_seed(problem.seed, "tasks", str(step)))
        codes = trainables[0].codes()
        drawn = draw_codes(codes, weights.vectors, weights.reach, self._radius(step), probe_seed(problem.seed, str(step)))
        # The task loss is at few codes: they are learned sooner than what lies between them.
        with_tasks = weights.task > 0 and step % weights.task_every == 0
        count = len(tasks) if with_tasks or weights.distillation else 0
        mixed = torch.cat([codes[tasks][:count], drawn[: weights.vectors if weights.agreement else 0]])
        compared = tasks if weights.reconstruction else []
        decoded = [
            trainable.decode_and_compare(mixed, codes[compared], delta.initial, source.displacements.take(compared))
            for delta, source, trainable in zip(problem.attached, problem.sources, trainables, strict=True)
        ]
        # Split, not sliced: the gradients of the two parts are joined, where those of slices are made as large as the whole.
        split = [vectors.split([count, len(vectors) - count]) for vectors, _ in decoded]
        apart = self._apart(drawn, [between for _, between in split], step) if weights.agreement else []
        task_batch = self._family.collate([item for task in tasks for item in self._batches[task].at(step)]) if count else None
        learned = self._learned(tasks, task_batch) if weights.distillation and task_batch else None
        for index, (delta, (at_codes, _), (_, distances)) in enumerate(zip(problem.attached, split, decoded, strict=True)):
            part = at_codes.new_zeros(())
            if with_tasks and task_batch:
                part = part + weights.task * weights.task_every * delta.loss(at_codes, task_batch)
            if learned and task_batch:
                part = part + weights.distillation * learned.apart(delta.decision(at_codes, task_batch))
            if weights.agreement:
                part = part + apart[index]
            if weights.reconstruction:
                part = part + weights.reconstruction * distances.mean() / math.sqrt(len(trainables[index].units))
            yield part

    def _learned(self, tasks: Sequence[int], batch: Batch) -> _Learned:
        """What the source solutions of some tasks do on a batch of these tasks' texts, on average over the deltas."""
        attached, sources = self._problem.attached, self._problem.sources
        with torch.no_grad():
            solved = [
                delta.decision(delta.initial + source.displacements.take(tasks), batch)
                for delta, source in zip(attached, sources, strict=True)
            ]
            goal = torch.stack(solved).mean(0).unflatten(0, (len(tasks), -1))
        backbone = attached[0].backbone
        change = goal - decisions_of(backbone.model, backbone, batch.items).view_as(goal)
        return _Learned(goal, _size(change))

    def _apart(
        self, drawn: Float[Tensor, "vectors dim"], decoded: Sequence[Float[Tensor, "vectors _"]], step: int
    ) -> list[Float[Tensor, ""]]:
        """Of every delta agreement and isometry, with the gradient of both, as far as it is due to this delta."""
        attached, weights, count = self._problem.attached, self._weights, len(drawn)
        backbone = attached[0].backbone
        items = drawn_states(
            backbone, self._texts.at(step), weights.continued, probe_seed(self._problem.seed, "states", str(step))
        )
        batch = self._family.collate(items * count)
        decided = [delta.decision(part, batch).unflatten(0, (count, -1)) for delta, part in zip(attached, decoded, strict=True)]
        # Of the PLM itself: a delta's initial vector need not be nothing, such as a prefix.
        untuned = decisions_of(backbone.model, backbone, items)
        target = self._target(decided, step).requires_grad_()
        change = target - untuned
        size = _size(change)
        change = change - change.mean(1, keepdim=True)
        far = sum(_mean_square(out.detach() - target.detach()) for out in decided)
        isometry = weights.isometry * _unlike(change.flatten(1), drawn) / len(decided)
        # What the target does by changing: for a leader's, which is given, nothing.
        pull = torch.zeros_like(target)
        if weights.leader == CONSENSUS:
            [pull] = torch.autograd.grad(weights.agreement * (far / size).mean() + len(decided) * isometry, [target])
        parts = []
        for out in decided:
            part = weights.agreement * (_mean_square(out - target.detach()) / size.detach()).mean() + isometry.detach()
            parts.append(part + ((out - out.detach()) * pull).sum() / len(decided))
        return parts

    def _target(self, decided: Sequence[Tensor], step: int) -> Float[Tensor, "vectors texts features"]:
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


@dataclass(frozen=True)
class _Learned:
    """What is to be kept of source tasks: f at their codes, and how much it changed, (tasks,)."""

    goal: Float[Tensor, "tasks texts features"]
    size: Float[Tensor, " tasks"]

    def apart(self, decided: Float[Tensor, "rows features"]) -> Float[Tensor, ""]:
        return (_mean_square(decided.view_as(self.goal) - self.goal) / self.size).mean()


def _size(changes: Float[Tensor, "vectors texts features"]) -> Float[Tensor, " vectors"]:
    """S + SMALL: the variance of changes over texts."""
    texts = changes.shape[1]
    return _mean_square(changes - changes.mean(1, keepdim=True)) * texts / (texts - 1) + SMALL


def _mean_square(changes: Float[Tensor, "vectors texts features"]) -> Float[Tensor, " vectors"]:
    return changes.square().sum(2).mean(1)


def _unlike(changes: Float[Tensor, "vectors outputs"], vectors: Float[Tensor, "vectors dim"]) -> Float[Tensor, ""]:
    """How far the cosines of changes are from those of the vectors, over all pairs; 0 for one vector."""
    ours, theirs = (normalize(rows, dim=1) @ normalize(rows, dim=1).T for rows in (changes, vectors))
    pairs = len(vectors) * (len(vectors) - 1)
    # The diagonals are alike.
    return (ours - theirs).square().sum() / max(1, pairs)
