"""ROUGE-L, from the package rouge-score."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from deltaspace.tasks.metrics.metric import METRICS, MeanMetric


class RougeL(MeanMetric):
    """Mean ROUGE-L F1 (rouge-score, stemmed), in percent."""

    name = "rouge_l"

    @cached_property
    def _scorer(self) -> Any:
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer(["rougeL"], use_stemmer=True)

    def value(self, prediction: str, target: str) -> float:
        return float(self._scorer.score(target, prediction)["rougeL"].fmeasure)


METRICS.register(RougeL())
