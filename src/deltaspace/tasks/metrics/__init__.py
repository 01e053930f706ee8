"""The metrics that judge predictions, from libraries where they exist. Each registers itself in its module here."""

from deltaspace.tasks.metrics.metric import METRICS, MeanMetric, Metric

__all__ = ["METRICS", "MeanMetric", "Metric"]
