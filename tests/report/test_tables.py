"""Tables and figures from rows with known numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from deltaspace.averages import average_rows, task_rows
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import save_figure, scores_figure, sweep_figure
from deltaspace.report.tables import sweep_tables, tables
from deltaspace.study import ScoreRow, SweepRow, measures

DELTAS = ("adapter", "lora", "prefix")


def row(stage, delta, source, seed, score, dim=4, rival=None):
    relative, recovered = measures(score, 80.0, 60.0) if dim else (None, None)
    return ScoreRow(
        stage=stage,
        task="movies",
        delta=delta,
        seed=seed,
        metric="accuracy",
        score=score,
        n_test=500,
        source_delta=source,
        dim=dim,
        rival=rival,
        tuned=dim or 0,
        seconds=1.0,
        steps=1,
        relative=relative,
        recovered=recovered,
    )


@pytest.fixture
def rows():
    made = []
    for seed, score in ((0, 70.0), (1, 74.0)):
        for delta in DELTAS:
            made += [row("zero_shot", delta, None, seed, 60.0, dim=None), row("independent", delta, None, seed, 80.0, dim=None)]
            made += [row("optimized", delta, delta, seed, score)]
            made += [row("transferred", other, delta, seed, score - 2) for other in DELTAS if other != delta]
    return made


def text(shown):
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as captured:
        for table in shown:
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
    long = [replace(row, task="a-task-with-a-name-that-is-longer-than-most-of-them") for row in rows]
    shown = text(tables([replace(row, relative=101.26, recovered=-143.21) if row.dim else row for row in long]))
    assert shown.count("101|-143") == 2 * 6
    assert shown.count("101.3|-143.2") == 2 * 4 + 2
    assert max(map(len, shown.splitlines())) <= 100


def test_what_is_undefined_is_shown_as_such(rows):
    undefined = [replace(row, recovered=None) if row.stage == "optimized" else row for row in rows]
    assert "90.0|–" in text(tables(undefined))
    assert next(row for row in average_rows(undefined) if row.stage == "optimized").recovered is None


def test_averages_of_tasks_have_every_stage(rows):
    [task] = task_rows(rows)
    assert (task.task, task.dim, task.zero_shot, task.independent) == ("movies", 4, 60.0, 80.0)
    assert (task.optimized, task.optimized_relative, task.optimized_recovered) == pytest.approx((72.0, 90.0, 60.0))
    assert (task.transferred, task.transferred_relative, task.transferred_recovered) == pytest.approx((70.0, 87.5, 50.0))
    [early] = task_rows([row for row in rows if row.stage == "optimized"])
    assert (early.optimized, early.zero_shot, early.transferred_recovered) == (72.0, None, None)


def test_the_figure_shows_every_task_stage_and_pair(rows, tmp_path):
    figure = scores_figure(rows)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 9
    assert "movies: adapter → lora" in labels
    for ending, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        assert save_figure(figure, tmp_path / f"figure{ending}").read_bytes().startswith(start)
    with pytest.raises(DeltaspaceError, match="nothing to draw"):
        scores_figure([row for row in rows if row.dim is None])


def lines_of(shown):
    return {tuple(line.split()[:2]): line.split() for line in shown.replace("│", " ").splitlines() if line}


def test_rivals_stand_beside_the_subspace(rows):
    rivals = [row("rivals", "lora", "lora", seed, score, rival="unilora") for seed, score in ((0, 66.0), (1, 68.0))]
    lines = lines_of(text(tables(rows + rivals)))
    assert lines["unilora", "lora"][2:] == ["4", "67.0±1.4", "83.8±1.8", "35.0±7.1"]
    assert lines["subspace", "average"][2:] == ["4", "72.0±2.8", "90.0±3.5", "60.0±14.1"]
    assert lines["full", "delta"][2:] == ["average", "0", "80.0±0.0", "–", "–"]
    assert "Ways of tuning" not in text(tables(rows))


def test_a_stage_of_another_package_has_a_table(rows):
    toys = [row("toy", "lora", "adapter", seed, score) for seed, score in ((0, 66.0), (1, 68.0))]
    shown = text(tables(rows + toys))
    assert "Toy" in shown
    assert lines_of(shown)["movies", "lora"][2:] == ["adapter", "4", "4", "67.0±1.4", "83.8±1.8", "35.0±7.1"]


@pytest.fixture
def swept(rows):
    made = []
    for projection, tasks, dim in (("svd", 2, 4), ("svd", 4, 4), ("dense", 4, 4), ("dense", 4, 8)):
        made += [SweepRow.at(replace(row, dim=dim), projection, tasks, 3) for row in rows if row.dim]
    return made


def test_a_sweep_is_a_table_of_its_points(swept):
    [table] = sweep_tables(swept)
    shown = text([table])
    assert shown.count("90.0±3.5|60.0±14.1") == 4
    assert max(map(len, shown.splitlines())) <= 100


def test_a_sweep_s_transfer_stands_beside_its_controls(swept):
    others = [
        replace(row, stage=stage, relative=row.relative - less, left_out=row.projection)
        for row in swept
        if row.stage == "transferred"
        for stage, less in (("transferred", 0), ("translated", 5), ("mean_code", 10), ("in_span", 20))
    ]
    tuned = [replace(row, left_out=row.projection) for row in swept if row.stage == "optimized"]
    first, second = (text([table]) for table in sweep_tables([*tuned, *others]))
    assert "90±4|60±14" in first and "translation" in first and "82±4|50±14" in first
    assert "88±4|50±14" in second and "78±4|50±14" in second and "68±4|50±14" in second
    assert "mean code" in second and "in span" in second and "mean code" not in first
    for printed in (first, second):
        assert max(map(len, printed.splitlines())) <= 100 and "…" not in printed


def test_the_figure_of_a_sweep_has_a_column_for_each_setting_that_varies(swept):
    figure = sweep_figure(swept)
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["d", "source tasks"]
    points = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert points["dense, optimization"] == [4, 8]
    assert [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_label() == "dense, transfer"] == [[87.5, 87.5]]
    with pytest.raises(DeltaspaceError, match="only one point"):
        sweep_figure([row for row in swept if row.dim == 8])
