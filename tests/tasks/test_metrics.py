"""Metrics against values worked out by hand or by the libraries they come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks.metrics import METRICS, MeanMetric, Metric
from tests.tiny import tiny_task

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
    assert METRICS[name].score(predictions, targets) == pytest.approx(expected)


def test_pearson_of_words_is_refused():
    with pytest.raises(DeltaspaceError, match="needs numbers"):
        METRICS["pearson"].score(["many"], ["1"])


class Longer(Metric):
    """Somebody else's metric, which has no way of its own over bootstrap samples."""

    name = "longer"

    def score(self, predictions, targets):
        return 100 * (len({*predictions}) / len({*targets, *predictions}))


class SameLength(MeanMetric):
    """Somebody else's mean over examples."""

    name = "same_length"

    def value(self, prediction, target):
        return float(len(prediction) == len(target))


LABELS = ("3", "1", "2", "10")


@pytest.mark.parametrize("metric", [*METRICS.values(), Longer(), SameLength()], ids=lambda metric: metric.name)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_metric_over_samples_is_the_metric_of_the_drawn_examples(metric, data):
    count = data.draw(st.integers(2, 8))
    texts = st.lists(st.sampled_from(LABELS), min_size=count, max_size=count)
    targets, rows = data.draw(texts), data.draw(st.lists(texts, min_size=1, max_size=3))
    draws = st.lists(st.integers(0, count - 1), min_size=count, max_size=count)
    samples = data.draw(st.lists(draws, min_size=1, max_size=4))
    counts = np.array([np.bincount(sample, minlength=count) for sample in samples], dtype=np.float64)
    resampled = metric.resampled(rows, targets, counts)
    assert resampled.shape == (len(samples), len(rows))
    for sample, scores in zip(samples, resampled, strict=True):
        for row, score in zip(rows, scores, strict=True):
            wanted = metric.score([row[index] for index in sample], [targets[index] for index in sample])
            assert score == pytest.approx(wanted, abs=1e-6)


def test_a_task_is_judged_by_a_registered_metric_only(monkeypatch):
    monkeypatch.setattr(METRICS, "_things", dict(METRICS))
    METRICS.register(Longer())
    assert tiny_task(metric="longer").metric == "longer"
    with pytest.raises(DeltaspaceError, match=r"no metric 'shorter'(.|\n)*longer"):
        tiny_task(metric="shorter")
