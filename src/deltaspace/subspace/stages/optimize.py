"""Stage 2, subspace optimization: arXiv 2210.13311, section 3. Only the intrinsic vector is tuned, through one delta:

min_I task_loss(theta0_t + up_t(I)) + prior * radius(I)^2 + agreement * mean over s, x of |a_s(x; I) - a_t(x; I)|^2

radius(I) is how far I lies from the source tasks' codes (`deltaspace.subspace.codes`): the deltas agree near them. a(x; I) is
what the PLM answers to an input x of the batch (`Family.answer`), s one of the subspace's other deltas; only t reads targets.
Where answers are written, t learns them token by token, each behind the target's tokens before it, and s is asked there.

Several starts and learning rates are tuned side by side: each is a candidate with its own Adam and clipping,
and one pass of the model serves all of them (each candidate's parameters on its own copy of the batch). The best on dev is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.arguments import check_kind, check_kinds, check_seed
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.scoring import Scorer
from deltaspace.seeds import derived_seed
from deltaspace.subspace.codes import squared_radius
from deltaspace.subspace.stages.searchers import OPTIMIZERS, best_of
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Asked, Batches, Fit, Job, Optimizer, Resume, Score, Training, fit, fit_each

Start = Literal["mean", "nearest", "zero"]
Searcher = Literal["adam", "lbfgs", "cma"]


class Optimization(Training):
    """How intrinsic vectors are tuned."""

    lr: float = Field(default=1e-2, gt=0, description="peak learning rate")
    optimizer: Searcher = Field(
        default="adam",
        description="adam, lbfgs (the same batches at every step), or cma: no gradient, 'lr' is its first deviation",
    )
    starts: tuple[Start, ...] = Field(
        default=("mean",),
        min_length=1,
        description="mean of the source tasks' codes, the source task nearest by dev loss, the initial vector",
    )
    factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0,), min_length=1, description="the learning rate times each of these is tried"
    )
    prior: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared radius (distance from the source tasks' codes), within which transfer can be trusted",
    )
    agreement: float = Field(
        default=0.0,
        ge=0,
        description="weight of how far the subspace's other deltas answer otherwise on each batch (0 to 2); they read no targets",
    )
    nearest_dev: int = Field(default=64, ge=1, description="dev examples by which the nearest source task is found")


@dataclass(frozen=True, repr=False)
class Optimized:
    """An intrinsic vector found through one delta.

    Args:
        vector: I, (d,).
        delta: the delta's name.
        task: the task's name.
        start: where the best candidate started: mean, zero, or the nearest source task's name.
        factor: of the learning rate, of the best candidate.
        fit: how it was found.
        trajectory: the best candidate before the first step and after every one, (steps + 1, d).
    """

    vector: Float[Tensor, " dim"]
    delta: str
    task: str
    start: str
    factor: float
    fit: Fit
    trajectory: Float[Tensor, "points dim"]

    def __repr__(self) -> str:
        how = f"best at step {self.fit.best_step} of {self.fit.steps}"
        return f"Optimized({self.task!r} through {self.delta}, d = {len(self.vector)}, {how})"


def optimize(
    subspace: Subspace,
    attached: AttachedDelta,
    task: Task,
    settings: Optimization | None = None,
    *,
    others: Sequence[AttachedDelta] = (),
    seed: int = 0,
    resume: Resume = NO_RESUME,
    keep: bool = False,
) -> Optimized:
    """Tune the d numbers of an intrinsic vector on `task` through one delta; the best on dev is kept.

    Most parameters are those of every stage that trains.

    Args:
        subspace: its maps and codes are frozen.
        attached: one of its deltas.
        task: an unseen task (or any).
        settings: `deltaspace.OPTIMIZE` by default.
        others: deltas that are to answer as this one does, where `settings.agreement` asks for that.
        seed: decides the order of the examples.
        resume: see `deltaspace.training.fit`.
        keep: put the vector among the subspace's (`subspace.vectors`), under the names of the task and the delta.

    Raises:
        DeltaspaceError: a delta is not the subspace's, agreement is asked for and there are no others, or the training diverges.

    Example:
        >>> lora = attach("lora", backbone, r=2)
        >>> subspace = approximate([lora], [], [], dim=3, projection="gaussian")
        >>> tuned = optimize(subspace, lora, task, Optimization(steps=2, lr=0.01, evaluate_every=2))
        >>> tuned.vector.shape, tuned.start
        (torch.Size([3]), 'mean')
        >>> _ = optimize(subspace, lora, task, Optimization(steps=2, evaluate_every=2), keep=True)
        >>> list(subspace.vectors)
        [('tiny', 'lora')]
    """
    [tuned] = optimize_each(subspace, attached, [task], settings, others=others, seed=seed, resumes=[resume])
    if keep:
        subspace.vectors.add(task.name, attached.name, tuned.vector)
    return tuned


def optimize_each(
    subspace: Subspace,
    attached: AttachedDelta,
    tasks: Sequence[Task],
    settings: Optimization | None = None,
    *,
    others: Sequence[AttachedDelta] = (),
    seed: int = 0,
    resumes: Sequence[Resume] | None = None,
) -> list[Optimized]:
    """Tune a vector on each of several tasks, as `optimize` does, side by side: a pass of the model has a batch of each.

    Adam alone tunes several tasks in a pass, and of tasks that fill a batch; others are tuned one after another. The numbers are,
    but for rounding, those of one task alone.

    Args:
        tasks: all ranked, or all generated.
        resumes: of each task.
        subspace, attached, settings, others, seed: see `optimize`, and what it raises.

    Example:
        >>> lora = attach("lora", backbone, r=2)
        >>> subspace = approximate([lora], [], [], dim=3, projection="gaussian")
        >>> [tuned.task for tuned in optimize_each(subspace, lora, [task, task], Optimization(steps=2, evaluate_every=2))]
        ['tiny', 'tiny']
    """
    check_kind(subspace, Subspace, "a subspace", "approximate, or Subspace.load")
    check_kinds((attached, *others), AttachedDelta, "a delta on a model", "attach('lora', backbone)")
    check_kinds(tasks, Task, "a task", "load_task or make_task")
    settings = settings or OPTIMIZE
    check_kind(settings, Optimization, "how a vector is tuned", "Optimization(steps=...)")
    check_seed(seed)
    for delta in (attached, *others):
        subspace.check(delta)
    if settings.agreement and not others:
        raise DeltaspaceError(
            "agreement needs deltas to agree with", found=f"{attached.name} alone", mend="others=[...], or agreement 0"
        )
    tunings = [_Tuning(subspace, attached, task, settings, seed) for task in tasks]
    objective = _Objective(subspace, attached, others if settings.agreement else (), settings, tunings)
    kept = resumes or [NO_RESUME] * len(tasks)

    def optimizer(values: list[Tensor]) -> Optimizer:
        # Every task has the same candidates, but for where they start.
        return OPTIMIZERS[settings.optimizer](values, [factor for _, factor in tunings[0].candidates], seed)

    jobs = [Job(tuning.begin, tuning.evaluate, resume) for tuning, resume in zip(tunings, kept, strict=True)]
    if len(jobs) > 1 and settings.optimizer == "adam" and len({tuning.batches.size for tuning in tunings}) == 1:
        fits = fit_each(jobs, objective.losses, settings, optimizer=optimizer, keep_trajectory=True)
    else:
        fits = [
            fit(
                job.parameters,
                objective.of(number),
                job.evaluate,
                settings,
                optimizer=optimizer,
                resume=job.resume,
                keep_trajectory=True,
            )
            for number, job in enumerate(jobs)
        ]
    return [tuning.best(fitted) for tuning, fitted in zip(tunings, fits, strict=True)]


class _Tuning:
    """What one task's vector is tuned with."""

    def __init__(self, subspace: Subspace, attached: AttachedDelta, task: Task, settings: Optimization, seed: int) -> None:
        self._subspace, self._attached, self._task = subspace, attached, task
        items = attached.backbone.family.encode(task, task.train)
        self.batches = Batches(items, settings.batch_size, derived_seed(seed, "batches", task.name))
        self._scorer = Scorer(attached, task, "dev")
        self._starts = _starts(subspace, attached, task, settings)
        self.candidates = list(itertools.product(self._starts, settings.factors))

    @property
    def begin(self) -> list[Tensor]:
        """Where each candidate starts."""
        return [self._starts[start] for start, _ in self.candidates]

    def evaluate(self, values: Sequence[Tensor]) -> Score:
        """The best candidate's score on dev."""
        return best_of(self._scores(values))[1]

    def _scores(self, values: Sequence[Tensor]) -> list[Score]:
        return [self._scorer.score(self._subspace.decode(self._attached.name, value)) for value in values]

    def best(self, tuned: Fit) -> Optimized:
        """The best candidate of a training."""
        index = best_of(self._scores(tuned.parameters))[0] if len(self.candidates) > 1 else 0
        start, factor = self.candidates[index]
        vector, trajectory = tuned.parameters[index], tuned.trajectory[index]
        return Optimized(vector, self._attached.name, self._task.name, start, factor, tuned, trajectory)


@dataclass(frozen=True)
class _Objective:
    """What is minimized, for the candidates of several tasks in one pass of each delta."""

    subspace: Subspace
    attached: AttachedDelta
    others: Sequence[AttachedDelta]
    settings: Optimization
    tunings: Sequence[_Tuning]

    def of(self, number: int) -> Callable[[list[Tensor], int], Tensor]:
        """Of one task alone."""
        return lambda values, step: self.losses([(number, values, step)])[0]

    def losses(self, asked: Asked) -> Float[Tensor, " asked"]:
        """The sum over each task's candidates: each has the gradient that it would have alone."""
        attached, settings = self.attached, self.settings
        rows = torch.stack([value for _, values, _ in asked for value in values])
        items: list[Item] = []
        for number, values, step in asked:
            # L-BFGS compares the gradients of its steps, so that they must be of the same examples.
            at = step % settings.accumulate if settings.optimizer == "lbfgs" else step
            items += self.tunings[number].batches.at(at) * len(values)
        batch, vectors = attached.backbone.family.collate(items), self.subspace.decode(attached.name, rows)
        if self.others:
            losses, answer = attached.losses_and_answer(vectors, batch)
            answers = [other.answer(self.subspace.decode(other.name, rows), batch) for other in self.others]
            apart = torch.stack([(other - answer).square().sum(1) for other in answers]).mean(0)
            losses = losses + settings.agreement * apart.unflatten(0, (len(rows), -1)).mean(1)
        else:
            losses = attached.losses(vectors, batch)
        if settings.prior:
            losses = losses + settings.prior * squared_radius(rows, self.subspace.codes_of(attached.name))
        return torch.stack([part.sum() for part in losses.split([len(values) for _, values, _ in asked])])


def _starts(subspace: Subspace, attached: AttachedDelta, task: Task, settings: Optimization) -> dict[str, Tensor]:
    starts: dict[str, Tensor] = {}
    codes = subspace.codes_of(attached.name)
    for start in settings.starts:
        if start == "mean":
            starts["mean"] = subspace.mean_code(attached.name)
        elif start == "zero" or not len(codes):
            starts["zero"] = torch.zeros_like(subspace.mean_code(attached.name))
        else:
            near = Scorer(attached, task, "dev", limit=settings.nearest_dev)
            losses = [near.score(subspace.decode(attached.name, code)).loss for code in codes]
            nearest = losses.index(min(losses))
            starts[subspace.sources[nearest]] = codes[nearest].clone()
    return starts


OPTIMIZE = Optimization(steps=80, lr=1e-2, evaluate_every=20, patience=4)
