"""The metrics that judge predictions, all on a scale where 100 is perfect; from libraries where they exist."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from deltaspace.errors import DeltaspaceError

Metric = Callable[[Sequence[str], Sequence[str]], float]


def accuracy(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Share of predictions equal to their target, in percent."""
    return 100 * sum(p == t for p, t in zip(predictions, targets, strict=True)) / len(targets)


def macro_f1(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Unweighted mean of the F1 of every class among the targets, in percent (scikit-learn's f1_score)."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(targets, predictions, labels=sorted(set(targets)), average="macro", zero_division=0))


def matthews(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Matthews correlation, times 100 (scikit-learn's matthews_corrcoef); 0 when predictions are constant."""
    from sklearn.metrics import matthews_corrcoef

    return 100 * float(matthews_corrcoef(targets, predictions))


def pearson(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Pearson correlation of the numbers, times 100 (numpy's corrcoef); 0 when predictions are constant.

    Raises:
        DeltaspaceError: a prediction is not a number.
    """
    import numpy as np

    try:
        x, y = (np.array([float(text) for text in texts]) for texts in (predictions, targets))
    except ValueError as error:
        raise DeltaspaceError("pearson needs numbers", found=str(error), expected="numbers as predictions and targets") from None
    return 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else 100 * float(np.corrcoef(x, y)[0, 1])


def exact_match(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Share of predictions equal to their target after SQuAD's normalization (arXiv 1606.05250), in percent."""
    return accuracy([_normalize(p) for p in predictions], [_normalize(t) for t in targets])


def qa_f1(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Mean F1 over the words that prediction and target share, after SQuAD's normalization (arXiv 1606.05250), in percent."""
    return 100 * sum(map(_word_f1, predictions, targets)) / len(targets)


def rouge_l(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Mean ROUGE-L F1 (rouge-score, stemmed), in percent."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return 100 * sum(scorer.score(t, p)["rougeL"].fmeasure for p, t in zip(predictions, targets, strict=True)) / len(targets)


def _normalize(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _word_f1(prediction: str, target: str) -> float:
    found, wanted = _normalize(prediction).split(), _normalize(target).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


METRICS: dict[str, Metric] = {
    metric.__name__: metric for metric in (accuracy, macro_f1, matthews, pearson, exact_match, qa_f1, rouge_l)
}
