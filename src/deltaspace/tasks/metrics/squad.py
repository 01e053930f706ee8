"""SQuAD's metrics of written answers, after its normalization of case, punctuation and articles (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter

from deltaspace.tasks.metrics.metric import METRICS, MeanMetric


class ExactMatch(MeanMetric):
    """Share of predictions equal to their target after normalization, in percent."""

    name = "exact_match"

    def value(self, prediction: str, target: str) -> float:
        return float(_normalized(prediction) == _normalized(target))


class QaF1(MeanMetric):
    """Mean F1 over the words that prediction and target share after normalization, in percent."""

    name = "qa_f1"

    def value(self, prediction: str, target: str) -> float:
        said, wanted = _normalized(prediction).split(), _normalized(target).split()
        if not said or not wanted:
            return float(said == wanted)
        shared = sum((Counter(said) & Counter(wanted)).values())
        return 2 * shared / (len(said) + len(wanted))


def _normalized(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


METRICS.register(ExactMatch())
METRICS.register(QaF1())
