"""Regions, their largest part and their intervals, against numbers worked out by hand or by the plain metric."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Grid, Landscape, Slice, regions
from deltaspace.landscape.region import largest_part
from deltaspace.landscape.resampled import draws, resampled_scores
from deltaspace.tasks import METRICS, Metric


def landscape(correct, metric="accuracy"):
    """From how many of 20 examples are right in each cell, (deltas, rows, columns)."""
    right = np.asarray(correct)
    predictions = (np.arange(20) >= right[..., None]).astype(np.int32)
    shape = right.shape[1:]
    slice_ = Slice(torch.zeros(2), torch.eye(2), tuple(Grid(0.0, 1.0, count) for count in reversed(shape)), ("x", "y"))
    losses = np.zeros(right.shape, dtype=np.float32)
    names = ("lora", "prefix", "adapter")[: len(right)]
    return Landscape(slice_, names, "t", "test", metric, ["yes"] * 20, ["yes", "no"], predictions, losses)


def test_regions_of_known_scores():
    [region] = regions(landscape([[[20, 19, 10], [19, 18, 19]], [[10, 10, 10], [10, 8, 0]]]), [95.0], samples=50)
    assert region.best == {"lora": 100.0, "prefix": 50.0}
    assert region.inside[0].tolist() == [[True, True, False], [True, False, True]]
    assert region.inside[1].tolist() == [[True, True, True], [True, False, False]]
    assert region.common.tolist() == [[True, True, False], [True, False, False]]
    assert region.shares["common"].value == region.shares["largest"].value == 50.0
    assert region.shares["lora"].value == pytest.approx(100 * 4 / 6)
    assert region.shares["union"].value == pytest.approx(100 * 3 / 5)
    for share in region.shares.values():
        assert 0 <= share.low <= share.high <= 100
    assert region.shares["common"].low < 50 < region.shares["common"].high


def test_a_higher_threshold_never_has_a_larger_region():
    drawn = landscape(np.random.default_rng(0).integers(5, 20, (3, 6, 6)))
    for looser, tighter in itertools.pairwise(regions(drawn, [80.0, 90.0, 95.0, 100.0], samples=20)):
        assert not (tighter.inside & ~looser.inside).any() and not (tighter.common & ~looser.common).any()


def test_the_interval_shrinks_with_more_examples_and_is_that_of_the_seed():
    few = landscape([[[20, 18, 19, 17]], [[20, 19, 17, 18]]])
    [first], [again], [other] = (regions(few, [90.0], samples=400, seed=seed) for seed in (0, 0, 1))
    assert first.shares == again.shares
    assert first.shares["common"].value == other.shares["common"].value
    many = landscape([[[20, 18, 19, 17]], [[20, 19, 17, 18]]])
    many.predictions, many.targets = np.tile(many.predictions, 400), many.targets * 400
    [tight] = regions(many, [88.0], samples=400)
    [wide] = regions(few, [88.0], samples=400)
    assert tight.shares["common"].high - tight.shares["common"].low < wide.shares["common"].high - wide.shares["common"].low


def test_where_a_best_score_is_not_positive_no_cell_is_inside():
    [region] = regions(landscape([[[0, 0]], [[10, 20]]]), [95.0], samples=10)
    assert not region.inside[0].any() and region.shares["common"].value == 0 and region.shares["union"].value == 0


def test_the_largest_part_is_joined_by_sides():
    region = np.array([[1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)
    assert largest_part(region).tolist() == [[False, False, True, True], [False, False, False, True], [False] * 4, [False] * 4]
    assert not largest_part(np.zeros((2, 2), dtype=bool)).any()
    assert largest_part(np.array([True, False, True, True])).tolist() == [False, False, True, True]


def test_cells_that_were_filled_in_have_intervals_too():
    full = landscape(np.full((2, 5, 5), 15))
    part = landscape(np.full((2, 5, 5), 15))
    part.tolerance = 1.0
    part.predictions[:, 1:4, 1:4] = -1
    part.losses[:, 1:4, 1:4] = np.nan
    assert part.sampled == 16 / 25
    [of_all], [of_some] = regions(full, [95.0], samples=50), regions(part, [95.0], samples=50)
    assert of_all.shares == of_some.shares


def test_what_cannot_be_a_region():
    unfinished = landscape([[[20, 10]]])
    for threshold in (0.0, 101.0):
        with pytest.raises(DeltaspaceError, match="no threshold"):
            regions(unfinished, [threshold])
    unfinished.predictions[0, 0, 0] = -1
    with pytest.raises(DeltaspaceError, match="not finished"):
        regions(unfinished, [95.0])


LABELS = ("3", "1", "2")


@pytest.mark.parametrize("metric", sorted(METRICS))
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_metric_of_a_sample_is_that_metric_of_the_drawn_examples(metric, data):
    count = data.draw(st.integers(2, 8))
    texts = st.lists(st.sampled_from(LABELS), min_size=count, max_size=count)
    targets, predictions, seed = data.draw(texts), data.draw(texts), data.draw(st.integers(0, 99))
    counts = draws(count, 5, seed)
    sampled = landscape([[[0, 0]]], metric)
    sampled.targets, sampled.answers = targets, list(LABELS)
    row = [LABELS.index(text) for text in predictions]
    sampled.predictions = np.array([[[row, row[::-1]]]], dtype=np.int32)
    scores = resampled_scores(sampled, 5, seed)
    assert scores.shape == (1, 5, 2)
    for cell, texts_of_cell in enumerate((predictions, predictions[::-1])):
        for score, times in zip(scores[0, :, cell], counts, strict=True):
            drawn = np.repeat(np.arange(count), times.astype(int))
            wanted = METRICS[metric].score([texts_of_cell[index] for index in drawn], [targets[index] for index in drawn])
            assert score == pytest.approx(wanted, abs=1e-6)


class Longest(Metric):
    """A metric of somebody else's with nothing but a score."""

    name = "longest"

    def score(self, predictions, targets):
        return 10.0 * sum(len(text) for text in predictions) / len(targets)


def test_a_metric_with_nothing_but_a_score_has_intervals(monkeypatch):
    monkeypatch.setattr(METRICS, "_things", dict(METRICS))
    METRICS.register(Longest())
    [region] = regions(landscape([[[20, 5, 12]]], "longest"), [90.0], samples=50)
    # The answers are "yes" and "no": a cell's score is ten times their mean length.
    assert region.best == {"lora": 30.0}
    assert region.inside.tolist() == [[[True, False, False]]]
    assert 0 < region.shares["lora"].low <= region.shares["lora"].value <= region.shares["lora"].high


def test_a_metric_that_is_not_installed_is_told():
    with pytest.raises(DeltaspaceError, match=r"no metric 'bleu'(.|\n)*accuracy"):
        landscape([[[20, 10]]], "bleu").scores()
