"""Training the maps of all deltas together, for any sum of objectives; the best on the source tasks' dev examples is kept.

Processes that were started together share the batches of each step (`training/processes.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from deltaspace.scoring import Scorer
from deltaspace.subspace.fitting.lowrank import LowRankAdafactor
from deltaspace.subspace.fitting.method import Fitted, Problem
from deltaspace.subspace.fitting.trainable import Trainable
from deltaspace.subspace.objectives.objective import Objective
from deltaspace.training import Processes, Resume, Score, fit

Evaluate = Callable[[Sequence[Trainable]], Score]


def train_jointly(
    problem: Problem,
    start: Sequence[Trainable],
    objectives: Sequence[Objective],
    shared: bool,
    resume: Resume,
    evaluate: Evaluate | None = None,
) -> Fitted:
    """Train from `start`; after each evaluation the best maps are those whose deltas do best on dev at the source tasks' codes.

    Args:
        problem: deltas, source solutions, tasks and settings.
        start: of every delta.
        objectives: what is minimized: their sum.
        shared: whether a task's code is the mean over all deltas, or each delta has its own.
        resume: see `deltaspace.training.fit`.
        evaluate: what tells which maps are best, in place of that.

    Raises:
        DeltaspaceError: the training diverges, or the processes cannot share its batches.
    """
    layout = [(index, name) for index, trainable in enumerate(start) for name in trainable.trained()]

    def at(values: Sequence[Tensor]) -> list[Trainable]:
        named: list[dict[str, Tensor]] = [{} for _ in start]
        for (index, name), value in zip(layout, values, strict=True):
            named[index][name] = value
        return [trainable.with_trained(tensors) for trainable, tensors in zip(start, named, strict=True)]

    def loss(values: list[Tensor], step: int) -> Iterator[Tensor]:
        trainables = at(values)
        for objective in objectives:
            yield from objective.parts(trainables, step)

    judge = evaluate or DevScores(problem, shared).score
    trained = fit(
        [start[index].trained()[name] for index, name in layout],
        loss,
        lambda values: judge(at(values)),
        problem.settings,
        optimizer=lambda values: LowRankAdafactor(values, [start[index].factors().get(name) for index, name in layout]),
        resume=resume,
        processes=Processes.launched(),
    )
    best = at(trained.parameters)
    history = {
        "steps": trained.steps,
        "seconds": trained.seconds,
        "best_step": trained.best_step,
        "curve": trained.curve,
    }
    maps = [trainable.fixed(source.displacements) for trainable, source in zip(best, problem.sources, strict=True)]
    offsets = [trainable.displacement_at_zero() for trainable in best]
    return Fitted(maps, torch.stack([trainable.codes() for trainable in best]), offsets, history)


class DevScores:
    """The mean score and loss of all deltas on the source tasks' dev examples, at these tasks' codes."""

    def __init__(self, problem: Problem, shared: bool) -> None:
        self._attached, self._shared = problem.attached, shared
        family, limit = problem.attached[0].backbone.family, problem.settings.dev
        items = [family.encode(task, task.dev[:limit]) for task in problem.tasks]
        self._scorers = [
            [Scorer(delta, task, "dev", part, limit=limit) for task, part in zip(problem.tasks, items, strict=True)]
            for delta in problem.attached
        ]

    def score(self, trainables: Sequence[Trainable]) -> Score:
        codes = torch.stack([trainable.codes() for trainable in trainables])
        mean = codes.mean(0)
        scores: list[Score] = []
        for delta, trainable, separate, scorers in zip(self._attached, trainables, codes, self._scorers, strict=True):
            # One task at a time: for fine-tuning, each is of the PLM's size.
            for scorer, code in zip(scorers, mean if self._shared else separate, strict=True):
                scores.append(scorer.score(delta.initial + trainable.decode(code.unsqueeze(0))[0]))
        count = len(scores)
        return Score(sum(s.value for s in scores) / count, sum(s.loss for s in scores) / count, scores[0].count)
