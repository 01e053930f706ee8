"""A metric, on a scale where 100 is perfect: of some predictions, and over bootstrap samples of the examples.

A bootstrap sample is how often each example was drawn (Efron 1979); a metric that knows its form over weighted examples computes
thousands of samples at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from deltaspace.registry import Registry


class Metric(ABC):
    """What judges predictions. One object of each class is registered: `METRICS.register(MyMetric())`."""

    name: ClassVar[str]
    # Of which kinds a task may be that it judges; of any by default.
    kinds: ClassVar[tuple[str, ...] | None] = None

    @abstractmethod
    def score(self, predictions: Sequence[str], targets: Sequence[str]) -> float:
        """The metric of predictions, one for each target."""

    def resampled(
        self, predictions: Sequence[Sequence[str]], targets: Sequence[str], counts: Float[np.ndarray, "samples examples"]
    ) -> Float[np.ndarray, "samples rows"]:
        """The metric of every row of predictions in every bootstrap sample.

        This one asks for the score of each row and sample; a metric with a faster way to the same numbers has its own.

        Args:
            predictions: rows of them, each with one for each target.
            targets: of every example.
            counts: how often each example is in each sample.
        """
        drawn = [np.repeat(np.arange(len(targets)), times.astype(int)).tolist() for times in counts]
        scores = [
            [self.score([row[index] for index in sample], [targets[index] for index in sample]) for row in predictions]
            for sample in drawn
        ]
        return np.array(scores, dtype=np.float64).reshape(len(counts), len(predictions))


class MeanMetric(Metric):
    """A metric that is the mean of a value of each example, in percent."""

    @abstractmethod
    def value(self, prediction: str, target: str) -> float:
        """Of one example, from 0 to 1."""

    def score(self, predictions: Sequence[str], targets: Sequence[str]) -> float:
        return 100 * sum(self.value(*pair) for pair in zip(predictions, targets, strict=True)) / len(targets)

    def resampled(
        self, predictions: Sequence[Sequence[str]], targets: Sequence[str], counts: Float[np.ndarray, "samples examples"]
    ) -> Float[np.ndarray, "samples rows"]:
        """A product of the examples' values with their counts."""
        pairs = {pair for row in predictions for pair in zip(row, targets, strict=True)}
        known = {pair: 100 * self.value(*pair) for pair in pairs}
        values = np.array([[known[pair] for pair in zip(row, targets, strict=True)] for row in predictions], dtype=np.float64)
        means: Float[np.ndarray, "samples rows"] = counts @ values.T / counts.sum(1, keepdims=True)
        return means


METRICS: Registry[Metric] = Registry("metric", Metric, "deltaspace.metrics", "deltaspace.tasks.metrics", objects=True)
