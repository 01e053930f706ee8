"""Stage 0, independent solutions: a delta trained on a task as usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.arguments import check_kind, check_kinds, check_seed
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.scoring import Scorer
from deltaspace.seeds import derived_seed
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Asked, Batches, Fit, Job, Resume, Score, Training, fit, fit_each


@dataclass(frozen=True, repr=False)
class Solution:
    """The trained parameters of one delta on one task.

    Args:
        delta: the delta's name.
        task: the task's name.
        vector: its parameters, (n,).
        displacement: `vector` minus the delta's initial vector, (n,).
        fit: how it was found.
    """

    delta: str
    task: str
    vector: Float[Tensor, " params"]
    displacement: Float[Tensor, " params"]
    fit: Fit

    def __repr__(self) -> str:
        how = f"best at step {self.fit.best_step} of {self.fit.steps}"
        return f"Solution({self.task!r}, {self.delta} of {len(self.vector):,} parameters, {how})"


def train(
    attached: AttachedDelta,
    task: Task,
    settings: Training | None = None,
    *,
    seed: int = 0,
    resume: Resume = NO_RESUME,
) -> Solution:
    """Train a delta on a task from its initial vector; the best on dev is kept (design: stage 0).

    Args:
        attached: the delta on its backbone.
        task: what to learn.
        settings: `deltaspace.TRAIN` by default; the learning rate is multiplied by the delta's `rate`.
        seed: decides the order of the examples.
        resume: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: the backbone's family cannot do the task, or the training diverges.

    Example:
        >>> lora = attach("lora", backbone, r=2)
        >>> solution = train(lora, task, Training(steps=2, lr=0.01, evaluate_every=2))
        >>> solution.vector.equal(lora.initial + solution.displacement)
        True
    """
    [solution] = train_each(attached, [task], settings, seed=seed, resumes=[resume])
    return solution


def train_each(
    attached: AttachedDelta,
    tasks: Sequence[Task],
    settings: Training | None = None,
    *,
    seed: int = 0,
    resumes: Sequence[Resume] | None = None,
) -> list[Solution]:
    """Train a delta on each of several tasks, as `train` does, side by side: a pass of the model has a batch of each.

    Deltas that take a pass for each vector, and tasks that do not fill a batch, are trained one after another. The numbers are,
    but for rounding, those of one task alone.

    Args:
        tasks: all ranked, or all generated.
        resumes: of each task.
        attached, settings, seed: see `train`, and what it raises.

    Example:
        >>> lora = attach("lora", backbone, r=2)
        >>> [solution.task for solution in train_each(lora, [task, task], Training(steps=2, evaluate_every=2))]
        ['tiny', 'tiny']
    """
    check_kind(attached, AttachedDelta, "a delta on a model", "attach('lora', backbone)")
    check_kinds(tasks, Task, "a task", "load_task or make_task")
    settings = settings or TRAIN
    check_kind(settings, Training, "how a solution is trained", "Training(steps=...)")
    check_seed(seed)
    if attached.delta.rate != 1:
        settings = settings.model_copy(update={"lr": settings.lr * attached.delta.rate})
    family, kept = attached.backbone.family, resumes or [NO_RESUME] * len(tasks)
    batches = [
        Batches(family.encode(task, task.train), settings.batch_size, derived_seed(seed, "batches", task.name)) for task in tasks
    ]
    scorers = [Scorer(attached, task, "dev") for task in tasks]

    def losses(asked: Asked) -> Float[Tensor, " asked"]:
        items = [item for number, _, step in asked for item in batches[number].at(step)]
        return attached.losses(torch.stack([values[0] for _, values, _ in asked]), family.collate(items))

    def alone(number: int, job: Job) -> Fit:
        def loss(values: list[Tensor], step: int) -> Tensor:
            return attached.loss(values[0], family.collate(batches[number].at(step)))

        return fit(job.parameters, loss, job.evaluate, settings, resume=job.resume)

    jobs = [Job([attached.initial], partial(_dev, scorer), resume) for scorer, resume in zip(scorers, kept, strict=True)]
    if len(jobs) > 1 and attached.delta.grouped and len({each.size for each in batches}) == 1:
        fits = fit_each(jobs, losses, settings)
    else:
        fits = [alone(number, job) for number, job in enumerate(jobs)]
    return [_solution(attached, task, trained) for task, trained in zip(tasks, fits, strict=True)]


def _dev(scorer: Scorer, values: list[Tensor]) -> Score:
    return scorer.score(values[0])


def _solution(attached: AttachedDelta, task: Task, trained: Fit) -> Solution:
    vector = trained.parameters[0]
    return Solution(attached.name, task.name, vector, vector - attached.initial, trained)


# Defaults measured on MiniLM (docs/results.md).
TRAIN = Training(steps=400, lr=2e-3, evaluate_every=50, patience=4)
