"""Stage 2, subspace optimization: arXiv 2210.13311, section 3. Only the intrinsic vector is tuned, through one delta:

min_I task_loss(theta0_t + up_t(I))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta, derived_seed
from deltaspace.solutions import Scorer
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Task
from deltaspace.training import Batches, Fit, Progress, Training, fit


@dataclass(frozen=True)
class Optimized:
    """An intrinsic vector found through one delta.

    Args:
        vector: I, (d,).
        delta: the delta's name.
        task: the task's name.
        fit: how it was found.
    """

    vector: Float[Tensor, " dim"]
    delta: str
    task: str
    fit: Fit


def optimize(
    subspace: Subspace,
    attached: AttachedDelta,
    task: Task,
    settings: Training | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Optimized:
    """Tune the d numbers of an intrinsic vector on `task` through one delta, from the subspace's start; best on dev is kept.

    Args:
        subspace: frozen.
        attached: one of its deltas.
        task: an unseen task (or any).
        settings: `deltaspace.OPTIMIZE` by default.
        seed: decides the order of the examples.
        checkpoint, fingerprint, progress: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: the delta is not the subspace's, or the training diverges.
    """
    settings = settings or OPTIMIZE
    subspace.check(attached)
    family = attached.backbone.family
    batches = Batches(family.encode(task, task.train), settings.batch_size, derived_seed(seed, "batches", task.name))
    scorer = Scorer(attached, task, "dev")
    found = fit(
        [subspace.start(attached.name)],
        lambda values, step: attached.loss(subspace.decode(attached.name, values[0]), family.collate(batches.at(step))),
        lambda values: scorer.score(subspace.decode(attached.name, values[0])),
        settings,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        progress=progress,
    )
    return Optimized(found.parameters[0], attached.name, task.name, found)


OPTIMIZE = Training(steps=80, lr=1e-2, evaluate_every=20, patience=4)
