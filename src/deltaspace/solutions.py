"""Stage 0, independent solutions: a delta trained on a task as usual."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from deltaspace.arguments import check_kind, check_seed
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.scoring import Scorer
from deltaspace.seeds import derived_seed
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Batches, Fit, Resume, Training, fit


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
    check_kind(attached, AttachedDelta, "a delta on a model", "attach('lora', backbone)")
    check_kind(task, Task, "a task", "load_task or make_task")
    settings = settings or TRAIN
    check_kind(settings, Training, "how a solution is trained", "Training(steps=...)")
    check_seed(seed)
    if attached.delta.rate != 1:
        settings = settings.model_copy(update={"lr": settings.lr * attached.delta.rate})
    family = attached.backbone.family
    batches = Batches(family.encode(task, task.train), settings.batch_size, derived_seed(seed, "batches", task.name))
    scorer = Scorer(attached, task, "dev")
    trained = fit(
        [attached.initial],
        lambda values, step: attached.loss(values[0], family.collate(batches.at(step))),
        lambda values: scorer.score(values[0]),
        settings,
        resume=resume,
    )
    vector = trained.parameters[0]
    return Solution(attached.name, task.name, vector, vector - attached.initial, trained)


# Defaults measured on MiniLM (docs/results.md).
TRAIN = Training(steps=400, lr=2e-3, evaluate_every=50, patience=4)
