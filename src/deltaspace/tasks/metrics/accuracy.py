"""Accuracy: how many predictions are the target itself."""

from __future__ import annotations

from deltaspace.tasks.metrics.metric import METRICS, MeanMetric


class Accuracy(MeanMetric):
    """Share of predictions equal to their target, in percent."""

    name = "accuracy"

    def value(self, prediction: str, target: str) -> float:
        return float(prediction == target)


METRICS.register(Accuracy())
