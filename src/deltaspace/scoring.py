"""How well a vector of a delta does a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Batch, Evaluation, Item
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Split, Task
from deltaspace.training import Score

# Examples in one pass of the model.
_BATCH = 64
# Of how many written answers the texts are kept.
_SHOWN = 4


class Scorer:
    """Scores vectors of a delta on one split of a task; the split is tokenized once.

    Args:
        attached: the delta.
        task: the task.
        split: which examples.
        items: the encoded examples, where they are at hand (they are the same for all deltas of a backbone).
        limit: take only the split's first examples.
        shown: of so many of the first examples the answers are kept.
    """

    def __init__(
        self,
        attached: AttachedDelta,
        task: Task,
        split: Split,
        items: Sequence[Item] | None = None,
        limit: int | None = None,
        shown: int = 0,
    ) -> None:
        self.attached, self.task, self.split = attached, task, split
        examples = task.split(split)[:limit]
        encoded = items if items is not None else attached.backbone.family.encode(task, examples)
        # Sorted by length: less padding.
        order = sorted(range(len(examples)), key=lambda index: encoded[index].length)
        self._targets = [examples[index].target for index in order]
        self._items = [encoded[index] for index in order]
        # Where in that order the first examples are.
        self._shown = [(order.index(index), example) for index, example in enumerate(examples[:shown])]

    def score(self, vector: Float[Tensor, " params"]) -> Score:
        """Metric and mean loss of `vector`."""
        return self.score_by(lambda batch: self.attached.evaluate(vector, batch))

    @torch.no_grad()
    def score_by(self, evaluate: Callable[[Batch], Evaluation]) -> Score:
        """Metric and mean loss of whatever evaluates batches, such as another program's model of the same family."""
        predictions: list[str] = []
        losses: list[Tensor] = []
        for start in range(0, len(self._items), _BATCH):
            batch = self.attached.backbone.family.collate(self._items[start : start + _BATCH])
            evaluation = evaluate(batch)
            predictions += evaluation.predictions
            losses.append(evaluation.losses)
        value = METRICS[self.task.metric].score(predictions, self._targets)
        answers = tuple((example.input, example.target, predictions[at]) for at, example in self._shown)
        return Score(value, float(torch.cat(losses).double().mean()), len(predictions), answers)


def score(attached: AttachedDelta, task: Task, vector: Float[Tensor, " params"], split: Split = "test") -> Score:
    """Metric and mean loss of a delta's `vector` on a split of a task, with a few answers if it writes them.

    Zero-shot is the score of `attached.initial`.
    """
    return Scorer(attached, task, split, shown=0 if task.ranked else _SHOWN).score(vector)
