"""Metrics that follow from how often each label was predicted for each label: macro F1 and Matthews correlation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deltaspace.tasks.metrics.metric import METRICS, Metric


class _ConfusionMetric(Metric):
    @abstractmethod
    def from_confusion(self, confusion: Float[np.ndarray, "samples labels labels"]) -> Float[np.ndarray, " samples"]:
        """The metric of tables of confusion: how often (target, prediction) is met."""

    def resampled(
        self, predictions: Sequence[Sequence[str]], targets: Sequence[str], counts: Float[np.ndarray, "samples examples"]
    ) -> Float[np.ndarray, "samples rows"]:
        """From each sample's table of confusion, which is a product with the counts."""
        return np.stack([self.from_confusion(_confusion(row, targets, counts)) for row in predictions], 1)


def _confusion(
    row: Sequence[str], targets: Sequence[str], counts: Float[np.ndarray, "samples examples"]
) -> Float[np.ndarray, "samples labels labels"]:
    labels = {label: index for index, label in enumerate(sorted({*row, *targets}))}
    said = np.array([labels[text] for text in row])
    wanted = np.array([labels[text] for text in targets])
    size = len(labels)
    table = np.zeros((len(row), size * size))
    table[np.arange(len(row)), wanted * size + said] = 1
    return (counts @ table).reshape(-1, size, size)


class MacroF1(_ConfusionMetric):
    """Unweighted mean of the F1 of every class among the targets, in percent (scikit-learn's f1_score)."""

    name = "macro_f1"
    kinds = ("classification", "multiple_choice")

    def score(self, predictions: Sequence[str], targets: Sequence[str]) -> float:
        from sklearn.metrics import f1_score

        return 100 * float(f1_score(targets, predictions, labels=sorted(set(targets)), average="macro", zero_division=0))

    def from_confusion(self, confusion: Float[np.ndarray, "samples labels labels"]) -> Float[np.ndarray, " samples"]:
        """Over the classes among the targets of each sample."""
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        wanted, said = confusion.sum(2), confusion.sum(1)
        present = wanted > 0
        f1 = np.where(present, 2 * hits / np.maximum(wanted + said, 1), 0.0)
        means: Float[np.ndarray, " samples"] = 100 * f1.sum(1) / present.sum(1)
        return means


class Matthews(_ConfusionMetric):
    """Matthews correlation, times 100 (scikit-learn's matthews_corrcoef); 0 when predictions or targets are constant."""

    name = "matthews"
    kinds = ("classification", "multiple_choice")

    def score(self, predictions: Sequence[str], targets: Sequence[str]) -> float:
        if len({*predictions, *targets}) == 1:
            return 0.0
        from sklearn.metrics import matthews_corrcoef

        return 100 * float(matthews_corrcoef(targets, predictions))

    def from_confusion(self, confusion: Float[np.ndarray, "samples labels labels"]) -> Float[np.ndarray, " samples"]:
        """Its form for several classes (Gorodkin 2004)."""
        hits, total = np.trace(confusion, axis1=1, axis2=2), confusion.sum((1, 2))
        wanted, said = confusion.sum(2), confusion.sum(1)
        above = hits * total - (wanted * said).sum(1)
        below = (total**2 - (said**2).sum(1)) * (total**2 - (wanted**2).sum(1))
        return 100 * np.where(below > 0, above / np.sqrt(np.where(below > 0, below, 1.0)), 0.0)


METRICS.register(MacroF1())
METRICS.register(Matthews())
