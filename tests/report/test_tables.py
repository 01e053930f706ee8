"""Tables and figure from rows with known numbers."""

from __future__ import annotations

import pytest
from rich.console import Console

from deltaspace.errors import DeltaspaceError
from deltaspace.figures import save_figure, scores_figure, sweep_figure
from deltaspace.report.tables import sweep_table, tables
from deltaspace.study.folder import measures

DELTAS = ("adapter", "lora", "prefix")


def row(stage, delta, source, seed, score, dim=4, task="movies", zero_shot=60.0, independent=80.0):
    relative, recovered = measures(score, independent, zero_shot)
    measured = {"relative": relative, "recovered": recovered} if dim else {"relative": None, "recovered": None}
    return {
        "stage": stage,
        "task": task,
        "delta": delta,
        "source_delta": source,
        "seed": seed,
        "dim": dim,
        "tuned": dim or 0,
        "metric": "accuracy",
        "score": score,
        "n_test": 500,
        "seconds": 1.0,
        "steps": 1,
        **measured,
    }


@pytest.fixture
def rows():
    found = []
    for seed, score in ((0, 70.0), (1, 74.0)):
        for delta in DELTAS:
            found += [row("zero_shot", delta, None, seed, 60.0, dim=None), row("independent", delta, None, seed, 80.0, dim=None)]
            found += [row("optimized", delta, delta, seed, score)]
            found += [row("transferred", other, delta, seed, score - 2) for other in DELTAS if other != delta]
    return found


def text(found):
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as captured:
        for table in found:
            console.print(table)
    return captured.get()


def test_measures_are_their_definitions():
    assert measures(70.0, 80.0, 60.0) == (87.5, 50.0)
    assert measures(55.0, 80.0, 60.0) == (68.75, -25.0)
    assert measures(70.0, None, 60.0) == (None, None)
    assert measures(70.0, 60.0, 60.0)[1] is None


def test_tables_tell_means_and_the_spread_over_seeds(rows):
    shown = text(tables(rows))
    assert "60.0±0.0 → 80.0±0.0" in shown
    assert "90.0|60.0" in shown  # optimization: (70 + 74) / 2 of 80; (10 + 14) / 2 of 20
    assert "over 2 seeds: 90.0±3.5|60.0±14.1" in shown
    assert "over 2 seeds: 87.5±3.5|50.0±14.1" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_no_number_is_cut_where_names_are_long_and_gains_negative(rows):
    for one in rows:
        one["task"] = "a-task-with-a-name-that-is-longer-than-most-of-them"
        if one["dim"]:
            one["relative"], one["recovered"] = 101.26, -143.21
    shown = text(tables(rows))
    assert shown.count("101|-143") == 2 * 6
    assert shown.count("101.3|-143.2") == 2 * 4 + 2
    assert max(map(len, shown.splitlines())) <= 100


def test_what_is_undefined_is_shown_as_such(rows):
    for one in rows:
        if one["stage"] == "optimized":
            one["recovered"] = None
    assert "90.0|–" in text(tables(rows))


def test_the_figure_shows_every_task_stage_and_pair(rows, tmp_path):
    drawn = scores_figure(rows)
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert len(labels) == 9
    assert "movies: adapter → lora" in labels
    for ending, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        assert save_figure(drawn, tmp_path / f"figure{ending}").read_bytes().startswith(start)
    with pytest.raises(DeltaspaceError, match="nothing to draw"):
        scores_figure([one for one in rows if one["dim"] is None])


def test_rivals_stand_beside_the_subspace(rows):
    rivals = [row("rival", "lora", "lora", seed, score) | {"rival": "unilora"} for seed, score in ((0, 66.0), (1, 68.0))]
    lines = {tuple(line.split()[:2]): line.split() for line in text(tables(rows + rivals)).replace("│", " ").splitlines() if line}
    assert lines["unilora", "lora"][2:] == ["4", "67.0±1.4", "83.8±1.8", "35.0±7.1"]
    assert lines["subspace", "average"][2:] == ["4", "72.0±2.8", "90.0±3.5", "60.0±14.1"]
    assert lines["full", "delta"][2:] == ["average", "0", "80.0±0.0", "–", "–"]
    assert "Ways of tuning" not in text(tables(rows))


@pytest.fixture
def swept(rows):
    found = []
    for kind, tasks, dim in (("svd", 2, 4), ("svd", 4, 4), ("dense", 4, 4), ("dense", 4, 8)):
        place = {"projection": kind, "source_tasks": tasks, "deltas": 3}
        found += [{**one, **place, "dim": dim} for one in rows if one["dim"]]
    return found


def test_a_sweep_is_a_table_of_its_points(swept):
    shown = text([sweep_table(swept)])
    assert shown.count("90.0±3.5|60.0±14.1") == 4
    assert max(map(len, shown.splitlines())) <= 100


def test_the_figure_of_a_sweep_has_a_column_for_each_thing_that_varies(swept):
    drawn = sweep_figure(swept)
    assert [axes.get_xlabel() for axes in drawn.axes[:2]] == ["d", "source tasks"]
    points = {line.get_label(): list(line.get_xdata()) for line in drawn.axes[0].lines}
    assert points["dense, optimization"] == [4, 8]
    assert [list(line.get_ydata()) for line in drawn.axes[0].lines if line.get_label() == "dense, transfer"] == [[87.5, 87.5]]
    with pytest.raises(DeltaspaceError, match="only one point"):
        sweep_figure([one for one in swept if one["dim"] == 8])
