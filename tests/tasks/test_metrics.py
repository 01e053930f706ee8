"""Metrics against values worked out by hand or by the libraries they come from."""

from __future__ import annotations

import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks.metrics import METRICS

P, T = ["a", "b", "a", "c", "a"], ["a", "b", "b", "c", "c"]


@pytest.mark.parametrize(
    ("name", "predictions", "targets", "expected"),
    [
        ("accuracy", P, T, 60.0),
        ("macro_f1", P, T, 100 * f1_score(T, P, average="macro")),
        ("matthews", P, T, 100 * matthews_corrcoef(T, P)),
        ("pearson", ["1", "2", "3"], ["2", "4", "6.0"], 100.0),
        ("pearson", ["1", "1", "1"], ["2", "4", "6.0"], 0.0),
        ("exact_match", ["The cat!", "dog"], ["cat", "a cow"], 50.0),
        ("qa_f1", ["the black cat", ""], ["cat", "cow"], 100 * (2 / 3) / 2),
        ("rouge_l", ["the cat sat"], ["the cat sat"], 100.0),
    ],
)
def test_value(name, predictions, targets, expected):
    assert METRICS[name](predictions, targets) == pytest.approx(expected)


def test_pearson_of_words_is_refused():
    with pytest.raises(DeltaspaceError, match="needs numbers"):
        METRICS["pearson"](["one"], ["1"])
