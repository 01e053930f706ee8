"""Every metric over bootstrap samples of the examples, without asking for it once a sample.

A sample is how often each example was drawn. Metrics that are means over examples are products with these counts; the others
follow from weighted tables of confusion (macro F1, Matthews) or weighted moments (Pearson).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks.metrics import METRICS

_MEANS = ("accuracy", "exact_match", "qa_f1", "rouge_l")


def draws(count: int, samples: int, seed: int) -> np.ndarray:
    """How often each of `count` examples is in each bootstrap sample, (samples, count)."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples).astype(np.float64)


class Resampler:
    """A metric of some predictions over weighted examples.

    Args:
        metric: a name of `deltaspace.tasks.METRICS`.
        answers: the texts that predictions are indices of.
        targets: of every example.

    Raises:
        DeltaspaceError: this metric is not known here.
    """

    def __init__(self, metric: str, answers: Sequence[str], targets: Sequence[str]) -> None:
        if metric not in (*_MEANS, "macro_f1", "matthews", "pearson"):
            raise DeltaspaceError(f"no intervals for the metric {metric!r}", expected=", ".join(METRICS))
        self._metric, self._answers, self._targets = metric, list(answers), list(targets)
        self._known: dict[tuple[str, str], float] = {}

    def scores(self, predictions: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The metric of every row of predictions in every sample.

        Args:
            predictions: indices of answers, (rows, examples).
            counts: see `draws`, (samples, examples).

        Returns:
            (samples, rows), on the metric's own scale.
        """
        if self._metric in _MEANS:
            values = np.array([[self._value(index, place) for place, index in enumerate(row)] for row in predictions.tolist()])
            return counts @ values.T / counts.sum(1, keepdims=True)
        one = self._pearson if self._metric == "pearson" else self._confused
        return np.stack([one(row, counts) for row in predictions], 1)

    def _value(self, index: int, place: int) -> float:
        pair = (self._answers[index], self._targets[place])
        if pair not in self._known:
            self._known[pair] = METRICS[self._metric]([pair[0]], [pair[1]])
        return self._known[pair]

    def _confused(self, row: np.ndarray, counts: np.ndarray) -> np.ndarray:
        predictions = [self._answers[index] for index in row.tolist()]
        labels = sorted({*predictions, *self._targets})
        said = np.array([labels.index(text) for text in predictions])
        wanted = np.array([labels.index(text) for text in self._targets])
        size = len(labels)
        table = np.zeros((len(row), size * size))
        table[np.arange(len(row)), wanted * size + said] = 1
        confusion = (counts @ table).reshape(-1, size, size)
        return _macro_f1(confusion) if self._metric == "macro_f1" else _matthews(confusion)

    def _pearson(self, row: np.ndarray, counts: np.ndarray) -> np.ndarray:
        x = np.array([float(self._answers[index]) for index in row.tolist()])
        y = np.array([float(text) for text in self._targets])
        shares = counts / counts.sum(1, keepdims=True)
        means = shares @ np.stack([x, y], 1)
        away = [values - mean[:, None] for values, mean in zip((x, y), means.T, strict=True)]
        xy, xx, yy = ((shares * a * b).sum(1) for a, b in ((away[0], away[1]), (away[0], away[0]), (away[1], away[1])))
        product = np.sqrt(xx * yy)
        # A sample of equal values differs from its mean by rounding alone.
        constant = (xx <= 1e-18 * (1 + means[:, 0] ** 2)) | (yy <= 1e-18 * (1 + means[:, 1] ** 2))
        return 100 * np.where(constant, 0.0, xy / np.where(constant, 1.0, product))


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Unweighted mean of the F1 of every class among the targets of a sample."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    wanted, said = confusion.sum(2), confusion.sum(1)
    present = wanted > 0
    f1 = np.where(present, 2 * hits / np.maximum(wanted + said, 1), 0.0)
    return 100 * f1.sum(1) / present.sum(1)


def _matthews(confusion: np.ndarray) -> np.ndarray:
    """The multi-class Matthews correlation; 0 where predictions or targets are constant."""
    hits, total = np.trace(confusion, axis1=1, axis2=2), confusion.sum((1, 2))
    wanted, said = confusion.sum(2), confusion.sum(1)
    above = hits * total - (wanted * said).sum(1)
    below = (total**2 - (said**2).sum(1)) * (total**2 - (wanted**2).sum(1))
    return 100 * np.where(below > 0, above / np.sqrt(np.where(below > 0, below, 1.0)), 0.0)
