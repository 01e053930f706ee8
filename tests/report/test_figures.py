"""Figures: each is drawn from a study by name, shows its numbers, is written in every format, and says what it lacks."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltaspace.cli import Drawing, app, main
from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import regions
from deltaspace.figures import (
    FIGURES,
    Options,
    cosines,
    draw,
    landscape_figure,
    map_figure,
    panels_figure,
    save_figure,
    scores_figure,
    similarity_figure,
    study_curves,
    transfer_figure,
)
from deltaspace.study import rows, study_subspace
from deltaspace.study.landscapes import landscapes

OF_STUDIES = [name for name in FIGURES if name != "sweep"]


def texts(drawn):
    import matplotlib.text

    return " ".join(own.get_text() for own in drawn.findobj(matplotlib.text.Text))


def test_the_command_line_knows_every_figure():
    assert [one.value for one in Drawing] == list(FIGURES)


@pytest.mark.parametrize("name", OF_STUDIES)
def test_every_figure_is_drawn_and_written(study, name, tmp_path, capsys):
    for suffix in (".png", ".svg", ".pdf"):
        path = tmp_path / f"figure{suffix}"
        app(["figure", name, str(study), "-o", str(path)], standalone_mode=False)
        assert f"figure: {path}" in capsys.readouterr().out
        head = path.read_bytes()[:200]
        assert {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix] in head
        assert path.stat().st_size > 3000


def test_the_landscape_states_the_region_that_it_shows(study):
    own = landscapes(study)["plane"]
    [region] = regions(own, [90.0])
    drawn = landscape_figure(own, 90.0)
    common = region.shares["common"]
    assert f"{common.value:.1f} % of the slice" in texts(drawn) and f"{common.low:.1f}–{common.high:.1f}" in texts(drawn)
    mesh = drawn.axes[0].collections[0].get_array()
    assert (~np.ma.getmaskarray(mesh).reshape(region.common.shape)).sum() == region.common.sum()


def test_panels_have_the_values_and_the_way(study):
    own = landscapes(study)["plane"]
    drawn = panels_figure(own)
    for axes, delta, scores in zip(drawn.axes, own.deltas, own.filled(), strict=False):
        assert np.array_equal(axes.collections[0].get_array().reshape(scores.shape), scores)
        ways = [line.get_xydata() for line in axes.lines]
        assert any(np.allclose(way, own.paths[delta]) for way in ways if len(way) == len(own.paths[delta]))
    losses = panels_figure(own, "loss")
    assert np.allclose(losses.axes[0].collections[0].get_array().reshape(own.slice.shape), own.filled("loss")[0])


def test_a_path_is_lines_of_scores_and_losses(study):
    own = landscapes(study)["path"]
    for drawn in (landscape_figure(own), panels_figure(own)):
        lines = [line.get_ydata() for line in drawn.axes[0].lines]
        for scores in own.filled():
            assert any(np.array_equal(line, scores) for line in lines)
    losses = [line.get_ydata() for line in panels_figure(own).axes[1].lines]
    assert all(np.allclose(line, own_loss) for line, own_loss in zip(losses, own.filled("loss"), strict=True))


def test_the_ways_end_where_tuning_went(study):
    """A vector that is the best on dev is one of the places of its path, and the path starts at the mean of the codes."""
    subspace = study_subspace(study)
    own = landscapes(study)["plane"]
    for delta in own.deltas:
        way = torch.tensor(own.paths[delta])
        mark = torch.tensor(own.marks[delta]["place"])
        assert float((way - mark).norm(dim=1).min()) < 1e-4 and own.marks[delta]["distance"] < 1e-4
        start, _ = own.slice.place(subspace.start(delta).unsqueeze(0))
        assert torch.allclose(way[0], start[0], atol=1e-4) and len(way) == 7


def test_the_transfer_matrix_has_the_averages(study):
    found = rows(study)
    drawn = transfer_figure(found)
    cells = drawn.axes[0].images[0].get_array()
    pair = [row["relative"] for row in found if row["source_delta"] == "lora" and row["delta"] == "prefix"]
    assert float(cells[1, 2]) == pytest.approx(float(np.mean(pair)))
    assert "three" in texts(transfer_figure(found, task="three"))


def test_similarity_is_the_cosine_from_the_mean_code_and_has_none_where_nothing_moved(study):
    subspace = study_subspace(study)
    a, b = (subspace.vectors.get("three", delta) - subspace.start(delta) for delta in ("adapter", "lora"))
    wanted = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert cosines(subspace)["three"]["adapter", "lora"] == pytest.approx(wanted, abs=1e-5)
    subspace.vectors.add("four", "adapter", subspace.start("adapter"))
    found = cosines(subspace)
    assert np.isnan(found["four"]["adapter", "lora"]) and not np.isnan(found["three"]["adapter", "lora"])
    drawn = similarity_figure(subspace)
    mean = drawn.axes[0].images[0].get_array()
    assert float(mean[0, 1]) == pytest.approx(found["three"]["adapter", "lora"]) and "–" in texts(drawn)


def test_the_map_names_tasks_and_needs_points(study):
    subspace = study_subspace(study)
    assert all(task in texts(map_figure(subspace)) for task in ("one", "two", "three", "four"))
    few = replace(subspace, sources=(), vectors=type(subspace.vectors)(3))
    with pytest.raises(DeltaspaceError, match="needs three points"):
        map_figure(few)
    with pytest.raises(DeltaspaceError, match="two deltas found"):
        similarity_figure(few)


def test_curves_are_those_of_the_files(study):
    found = study_curves(study)
    stages = [curve["stage"] for curve in found]
    assert stages.count("independent") == 4 * 3 * 2 and stages.count("optimized") == 2 * 3 * 2
    assert all(curve["curve"][0][0] == 0 for curve in found)
    assert "mean of 4 tasks" in texts(draw("curves", study)) and "three" in texts(draw("curves", study, Options(task="three")))


def test_what_cannot_be_drawn(study, tmp_path, monkeypatch, capsys):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(study / "recipe.yaml", bare)
    for name in OF_STUDIES:
        with pytest.raises(DeltaspaceError):
            draw(name, bare)
        with pytest.raises(DeltaspaceError, match="is not a study"):
            draw(name, tmp_path)
    with pytest.raises(DeltaspaceError, match="no figure 'pie'"):
        draw("pie", study)
    with pytest.raises(DeltaspaceError, match="has no figure 'sweep'"):
        draw("sweep", study)
    with pytest.raises(DeltaspaceError, match="no landscape 'hill'"):
        draw("landscape", study, Options(landscape="hill"))
    with pytest.raises(DeltaspaceError, match="no figure of the task 'x'"):
        draw("curves", study, Options(task="x"))
    with pytest.raises(DeltaspaceError, match="no threshold"):
        draw("landscape", study, Options(threshold=120.0))
    with pytest.raises(DeltaspaceError, match="no figure format"):
        save_figure(draw("map", study), tmp_path / "map.gif")
    monkeypatch.setattr("sys.argv", ["deltaspace", "figure", "map", str(study), "-o", "map.gif"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "no figure format '.gif'" in capsys.readouterr().err


def test_scores_have_intervals_over_test_examples():
    """Half of 400 examples right: 1.96 x 2.5 points, 4.9, of an independent score of 80 and a gain of 20."""
    own = {"task": "t", "delta": "lora", "seed": 0, "metric": "accuracy", "n_test": 400}
    found = [
        {**own, "stage": "zero_shot", "source_delta": None, "dim": None, "score": 60.0, "relative": None, "recovered": None},
        {**own, "stage": "independent", "source_delta": None, "dim": None, "score": 80.0, "relative": None, "recovered": None},
        {**own, "stage": "optimized", "source_delta": "lora", "dim": 4, "score": 50.0, "relative": 62.5, "recovered": -50.0},
    ]
    for axes, middle, half in zip(scores_figure(found).axes, (62.5, -50.0), (4.9 / 0.8, 4.9 / 0.2), strict=True):
        spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
        assert any(np.allclose(span, [middle - half, middle + half]) for span in spans)
        assert any(np.allclose(span, [middle, middle]) for span in spans)  # one seed
    found[2]["metric"] = "macro_f1"
    assert len(scores_figure(found).axes[0].lines) == 3
