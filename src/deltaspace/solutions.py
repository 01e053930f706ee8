"""Stage 0, independent solutions: a delta trained on a task as usual; and how any vector of a delta is scored on a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta, derived_seed
from deltaspace.families import Item
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Split, Task
from deltaspace.training import Batches, Fit, Progress, Score, Training, fit

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
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


def train(
    attached: AttachedDelta,
    task: Task,
    settings: Training | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Solution:
    """Train a delta on a task from its initial vector; the best on dev is kept (design: stage 0).

    Args:
        attached: the delta on its backbone.
        task: what to learn.
        settings: `deltaspace.TRAIN` by default; the learning rate is multiplied by the delta's own `rate`.
        seed: decides the order of the examples.
        checkpoint, fingerprint, progress: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: the backbone's family cannot do the task, or the training diverges.
    """
    settings = settings or TRAIN
    if attached.delta.rate != 1:
        settings = settings.model_copy(update={"lr": settings.lr * attached.delta.rate})
    family = attached.backbone.family
    batches = Batches(family.encode(task, task.train), settings.batch_size, derived_seed(seed, "batches", task.name))
    scorer = Scorer(attached, task, "dev")
    found = fit(
        [attached.initial],
        lambda values, step: attached.loss(values[0], family.collate(batches.at(step))),
        lambda values: scorer.score(values[0]),
        settings,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        progress=progress,
    )
    vector = found.parameters[0]
    return Solution(attached.name, task.name, vector, vector - attached.initial, found)


class Scorer:
    """Scores vectors of a delta on one split of a task; the split is tokenized once.

    Args:
        attached: the delta.
        task: the task.
        split: which examples.
        items: the encoded examples, where they are at hand (they are the same for all deltas of a backbone).
        limit: take only the split's first examples.
    """

    def __init__(
        self, attached: AttachedDelta, task: Task, split: Split, items: Sequence[Item] | None = None, limit: int | None = None
    ) -> None:
        self.attached, self.task, self.split = attached, task, split
        examples = task.split(split)[:limit]
        encoded = items if items is not None else attached.backbone.family.encode(task, examples)
        # Sorted by length: less padding.
        order = sorted(range(len(examples)), key=lambda index: len(encoded[index]["input_ids"]))
        self._targets = [examples[index].target for index in order]
        self._items = [encoded[index] for index in order]

    @torch.no_grad()
    def score(self, vector: Float[Tensor, " params"]) -> Score:
        """Metric and mean loss of `vector`."""
        predictions: list[str] = []
        losses: list[Tensor] = []
        for start in range(0, len(self._items), _EVALUATION_BATCH):
            batch = self.attached.backbone.family.collate(self._items[start : start + _EVALUATION_BATCH])
            evaluation = self.attached.evaluate(vector, batch)
            predictions += evaluation.predictions
            losses.append(evaluation.losses)
        metric = METRICS[self.task.metric](predictions, self._targets)
        return Score(metric, float(torch.cat(losses).double().mean()), len(predictions))


def score(attached: AttachedDelta, task: Task, vector: Float[Tensor, " params"], split: Split = "test") -> Score:
    """Metric and mean loss of a delta's `vector` on a split of a task. Zero-shot is the score of `attached.initial`."""
    return Scorer(attached, task, split).score(vector)


# Defaults measured on MiniLM (docs/results.md).
TRAIN = Training(steps=400, lr=2e-3, evaluate_every=50, patience=4)
