"""Figures: each is drawn from a study by name, shows its numbers, is written in every format, and says what it lacks."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.image import imread

import deltaspace.figures
from deltaspace.cli import app, main
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import (
    FIGURES,
    Drawing,
    Options,
    Results,
    cosines,
    curves_figure,
    disagreement_figure,
    draw,
    figure_names,
    landscape_figure,
    map_figure,
    panels_figure,
    save_figure,
    scores_figure,
    similarity_figure,
    transfer_figure,
)
from deltaspace.figures._landscapes import Trust, trust
from deltaspace.figures._size import drawn_ticks, fit_width
from deltaspace.landscape import regions
from deltaspace.study import (
    ScoreRow,
    SliceSpec,
    read_curves,
    read_disagreements,
    read_landscapes,
    read_radii,
    read_scores,
    read_subspace,
    sample_landscape,
)
from deltaspace.subspace.codes import radius_of

OF_STUDIES = [name for name in figure_names() if name != "sweep"]


def texts(figure):
    import matplotlib.text

    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_the_command_line_knows_every_figure_without_importing_any():
    assert set(figure_names()) == set(FIGURES)
    script = (
        "import sys; from deltaspace.figures import figure_names; names = figure_names(); assert 'panels' in names;"
        "sys.exit(any(module in sys.modules for module in ('torch', 'matplotlib', 'numpy', 'deltaspace.figures.panels')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_public_name_is_there_and_is_no_module():
    for name in deltaspace.figures.__all__:
        assert getattr(deltaspace.figures, name).__class__.__name__ != "module", name
        assert name in dir(deltaspace.figures)
    with pytest.raises(AttributeError, match="pie_figure"):
        _ = deltaspace.figures.pie_figure


def test_a_figure_of_another_package_is_drawn_by_name(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(FIGURES, "_things", dict(FIGURES))
    FIGURES.register(
        Drawing(
            name="toy",
            draw=lambda results, options: scores_figure(results.scores, options.dim),
            drawable=lambda results, options: True,
            caption="A toy.",
        )
    )
    app(["figure", "toy", str(study), "-o", str(tmp_path / "toy.png")], standalone_mode=False)
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG") and "toy.png" in capsys.readouterr().out


@pytest.mark.parametrize("name", OF_STUDIES)
def test_every_figure_is_drawn_and_written(study, name, tmp_path, capsys):
    for suffix in (".png", ".svg", ".pdf"):
        path = tmp_path / f"figure{suffix}"
        app(["figure", name, str(study), "-o", str(path)], standalone_mode=False)
        assert f"figure: {path}" in capsys.readouterr().out
        head = path.read_bytes()[:200]
        assert {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix] in head
        assert path.stat().st_size > 3000


def said_words(figure):
    """The words of titles, axes and legends, each once."""
    around = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    legends = [legend for legend in (*figure.legends, *(axes.get_legend() for axes in figure.axes)) if legend is not None]
    written = [text.get_text() for text in [*around, *(text for legend in legends for text in legend.get_texts())]]
    return {*" ".join([figure.get_suptitle(), *written]).split()}


def shown_texts(figure):
    """Every text that is drawn, with where it is in pixels."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = {label for axis in axes for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))}
    written = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in ticks]
    written += [label for axis in axes for label in drawn_ticks(axis)]
    return {text: text.get_window_extent() for text in written}


@pytest.mark.parametrize("landscape", ["plane", "path"])
@pytest.mark.parametrize("name", OF_STUDIES)
def test_in_a_column_of_a_paper_every_text_is_legible_whole_and_apart(study, name, landscape):
    of_landscapes = FIGURES[name].each_landscape
    if not of_landscapes and landscape == "path":
        pytest.skip("of no landscape")
    chosen = {"landscape": landscape if of_landscapes else None}
    natural, figure = draw(name, study, Options(**chosen)), draw(name, study, Options(width=3.25, **chosen))
    assert figure.get_figwidth() == 3.25 and figure.get_figheight() < natural.get_figheight()
    assert said_words(figure) == said_words(natural)
    page = figure.bbox.padded(2)
    for text, box in shown_texts(figure).items():
        assert text.get_fontsize() >= 7, text.get_text()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [label.get_window_extent().padded(-1) for label in drawn_ticks(axis)]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert axes.get_legend() is None  # it would cover what is drawn
    if name == "landscape" and landscape == "plane":
        [box] = [axes.get_window_extent() for axes in figure.axes]
        assert box.width == pytest.approx(box.height, rel=0.02) and box.width > 0.7 * figure.bbox.width


@pytest.mark.parametrize("name", OF_STUDIES)
def test_a_figure_without_a_title_keeps_the_names_of_its_panels(study, name):
    titled, bare = draw(name, study), draw(name, study, Options(title=False))
    panels = [axes.get_title() for axes in titled.axes if axes.get_label() != "<colorbar>"]
    left = [axes.get_title() for axes in bare.axes if axes.get_label() != "<colorbar>"]
    assert bare.get_suptitle() == "" and left == (panels if len(panels) > 1 else [""])
    assert name == "curves" or len(texts(bare)) < len(texts(titled))


def test_the_command_line_takes_a_width_in_inches(study, tmp_path, capsys, monkeypatch):
    path = tmp_path / "map.png"
    app(["figure", "map", str(study), "--width", "3.25", "--no-title", "-o", str(path)], standalone_mode=False)
    assert imread(path).shape[1] == 650  # 200 dots an inch
    for width in ("0.5", "8255", "nan"):
        monkeypatch.setattr("sys.argv", ["deltaspace", "figure", "map", str(study), "--width", width, "-o", str(path)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and f"no figure is {width} inches wide" in said and "2 to 50 inches" in said


def test_numbers_that_would_overlap_are_refused(study):
    subspace = read_subspace(study)
    for number in range(12):
        for delta in subspace.entries:
            subspace.vectors.add(f"task-{number}", delta, torch.randn(3))
    crowded = similarity_figure(subspace)
    fit_width(crowded, 3.25)  # more rows need more height
    labels = [label.get_window_extent() for label in crowded.axes[1].yaxis.get_ticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in itertools.pairwise(labels))
    with pytest.raises(DeltaspaceError, match="numbers do not fit 2 inches"):
        fit_width(similarity_figure(subspace), 2.0)


def test_the_landscape_states_the_region_that_it_shows(study):
    landscape = read_landscapes(study)["plane"]
    [region] = regions(landscape, [90.0])
    figure = landscape_figure(landscape, 90.0)
    common = region.shares["common"]
    assert f"{common.value:.1f} % of the slice" in texts(figure) and f"{common.low:.1f}–{common.high:.1f}" in texts(figure)
    [mesh] = [drawn for drawn in figure.axes[0].collections if isinstance(drawn, QuadMesh)]
    assert np.array_equal(mesh.get_array().reshape(region.common.shape), np.sum(region.inside, axis=0))
    assert np.array_equal(mesh.get_array().reshape(region.common.shape) == len(landscape.deltas), region.common)
    colors = mesh.cmap(mesh.norm(np.arange(len(landscape.deltas) + 1)))
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    swatches = [patch.get_facecolor() for patch in figure.axes[0].get_legend().get_patches()]
    assert np.allclose(swatches, colors) and len({tuple(color) for color in colors}) == len(colors)
    assert said[-4:] == ["inside of none", "inside of 1 of 3", "inside of 2 of 3", "inside of all: the common region"]


def test_borders_are_the_sides_of_the_cells_that_are_counted(study):
    landscape = read_landscapes(study)["plane"]
    [region] = regions(landscape, [95.0])
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    step = x[1] - x[0]
    borders = [drawn for drawn in landscape_figure(landscape, 95.0).axes[0].collections if isinstance(drawn, ContourSet)]
    wanted = [inside for inside in region.inside if inside.any() and not inside.all()]
    assert len(borders) == len(wanted) > 0
    for border, inside in zip(borders, wanted, strict=True):
        sides = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
        lines = [path for whole in border.get_paths() for path in whole.to_polygons(closed_only=False)]
        length = sum(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines)
        # The corners are cut by a thousandth of a cell.
        assert length == pytest.approx(sides * step, rel=0.01)
        corners = np.concatenate(lines)
        on_side = [np.abs((corners[:, i] - t[0]) / step % 1 - 0.5) < 2e-3 for i, t in enumerate((x, y))]
        assert (on_side[0] | on_side[1]).all()


def test_panels_have_the_values_and_the_trajectory(study):
    landscape = read_landscapes(study)["plane"]
    figure = panels_figure(landscape)
    for axes, delta, scores in zip(figure.axes, landscape.deltas, landscape.filled(), strict=False):
        assert np.array_equal(axes.collections[0].get_array().reshape(scores.shape), scores)
        wanted = landscape.trajectories[delta]
        drawn = [line.get_xydata() for line in axes.lines]
        assert any(np.allclose(line, wanted) for line in drawn if len(line) == len(wanted))
    losses = panels_figure(landscape, "loss")
    mesh = losses.axes[0].collections[0].get_array()
    assert np.allclose(mesh.reshape(landscape.slice.shape), landscape.filled("loss")[0])


def test_along_a_line_scores_and_losses_are_lines(study):
    landscape = read_landscapes(study)["path"]
    for figure in (landscape_figure(landscape), panels_figure(landscape)):
        drawn = [line.get_ydata() for line in figure.axes[0].lines]
        for scores in landscape.filled():
            assert any(np.array_equal(line, scores) for line in drawn)
    drawn = [line.get_ydata() for line in panels_figure(landscape).axes[1].lines]
    assert all(np.allclose(line, losses) for line, losses in zip(drawn, landscape.filled("loss"), strict=True))


def test_trajectories_end_where_tuning_went(study):
    """A vector that is the best on dev is a point of its trajectory, which starts at the mean of the codes."""
    subspace = read_subspace(study)
    landscape = read_landscapes(study)["plane"]
    for delta in landscape.deltas:
        trajectory = torch.tensor(landscape.trajectories[delta])
        mark = torch.tensor(landscape.marks[delta].coordinates)
        assert float((trajectory - mark).norm(dim=1).min()) < 1e-4 and landscape.marks[delta].distance < 1e-4
        start, _ = landscape.slice.project(subspace.mean_code(delta).unsqueeze(0))
        assert torch.allclose(trajectory[0], start[0], atol=1e-4) and len(trajectory) == 7


def test_the_transfer_matrix_has_the_averages(study):
    rows = read_scores(study)
    figure = transfer_figure(rows)
    cells = figure.axes[0].images[0].get_array()
    pair = [row.relative for row in rows if row.source_delta == "lora" and row.delta == "prefix"]
    assert float(cells[1, 2]) == pytest.approx(float(np.mean(pair)))
    assert "three" in texts(transfer_figure(rows, task="three"))


def test_similarity_is_the_cosine_from_the_mean_code_and_has_none_where_nothing_moved(study):
    subspace = read_subspace(study)
    a, b = (subspace.vectors.get("three", delta) - subspace.mean_code(delta) for delta in ("adapter", "lora"))
    wanted = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert cosines(subspace)["three"]["adapter", "lora"] == pytest.approx(wanted, abs=1e-5)
    subspace.vectors.add("four", "adapter", subspace.mean_code("adapter"))
    by_task = cosines(subspace)
    assert np.isnan(by_task["four"]["adapter", "lora"]) and not np.isnan(by_task["three"]["adapter", "lora"])
    figure = similarity_figure(subspace)
    mean = figure.axes[0].images[0].get_array()
    assert float(mean[0, 1]) == pytest.approx(by_task["three"]["adapter", "lora"]) and "–" in texts(figure)


def test_the_map_names_tasks_and_needs_points(study):
    subspace = read_subspace(study)
    assert all(task in texts(map_figure(subspace)) for task in ("one", "two", "three", "four"))
    few = replace(subspace, sources=(), codes=subspace.codes[:, :0], vectors=type(subspace.vectors)(3))
    with pytest.raises(DeltaspaceError, match="needs three points"):
        map_figure(few)
    with pytest.raises(DeltaspaceError, match="two deltas found"):
        similarity_figure(few)


def test_codes_of_deltas_that_share_none_are_not_averaged(study):
    """As under `autoencoder`: the map has every delta's codes, and vectors of different deltas are not compared."""
    unshared = replace(read_subspace(study), shared=False)
    figure = map_figure(unshared)
    rings = {line.get_label(): line for line in figure.axes[0].lines if "code of a source task" in line.get_label()}
    assert list(rings) == [f"code of a source task, {delta}" for delta in unshared.entries]
    [vectors] = [line for line in figure.axes[0].lines if line.get_label() == "found through adapter"]
    drawn = np.concatenate([vectors.get_xydata(), rings["code of a source task, adapter"].get_xydata()])
    wanted = torch.stack([unshared.vectors.get("four", "adapter"), unshared.vectors.get("three", "adapter")])
    wanted = torch.cat([wanted, unshared.codes_of("adapter")]).double()
    # Two axes of three keep no more than the distances in space, and those along the axes exactly.
    apart = np.linalg.norm(drawn[:, None] - drawn[None], axis=-1)
    assert (apart <= torch.cdist(wanted, wanted).numpy() + 1e-6).all() and apart[2, 3] > 0
    with pytest.raises(DeltaspaceError, match="share no codes"):
        similarity_figure(unshared)


def test_what_a_folder_lacks_is_not_drawable(study, monkeypatch):
    results, options = Results(study), Options(dim=3)
    assert all(FIGURES[name].drawable(results, options) for name in OF_STUDIES)
    monkeypatch.setitem(results._subspaces, (3, None), replace(results.subspace(3), shared=False))
    assert not FIGURES["similarity"].drawable(results, options) and FIGURES["map"].drawable(results, options)
    results.scores = [row for row in results.scores if row.stage != "transferred"]
    assert not FIGURES["transfer"].drawable(results, options)


def test_what_a_study_lacks_is_refused_not_drawn_empty(study):
    scores = read_scores(study)
    for name in ("scores", "transfer", "disagreement", "map", "similarity", "curves"):
        with pytest.raises(DeltaspaceError, match=r"d = 99(.|\n)*expected: d = 3"):
            draw(name, study, Options(dim=99))
        with pytest.raises(DeltaspaceError, match=r"nothing of the seed 7(.|\n)*expected: 0, 1"):
            draw(name, study, Options(seed=7))
    for figure in (scores_figure, transfer_figure):
        for dim in (0, 99):
            with pytest.raises(DeltaspaceError, match=f"nothing to draw of d = {dim}"):
                figure(scores, dim)
    with pytest.raises(DeltaspaceError, match="one landscape"):
        draw("landscape", study, Options(seed=1))


def test_a_figure_of_one_seed_has_that_seed_only(study):
    of_one = Results(study, 1)
    assert {row.seed for row in of_one.scores} == {curve.seed for curve in of_one.curves} == {1}
    assert {row.seed for row in Results(study).scores} == {0, 1}
    assert of_one.subspace(3).seed == 1 and Results(study).subspace(3).seed == 0


def test_curves_are_those_of_the_files(study):
    curves = read_curves(study)
    stages = [curve.stage for curve in curves]
    assert stages.count("independent") == 4 * 3 * 2 and stages.count("optimized") == 2 * 3 * 2
    assert all(curve.points[0][0] == 0 for curve in curves)
    assert "mean of 4 tasks" in texts(draw("curves", study)) and "three" in texts(draw("curves", study, Options(task="three")))
    with pytest.raises(DeltaspaceError, match="nothing was trained yet"):
        curves_figure([])


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


def test_without_matplotlib_there_is_one_message(study, monkeypatch):
    monkeypatch.setattr("deltaspace.figures._style.find_spec", lambda name: None)
    with pytest.raises(DeltaspaceError, match=r"deltaspace\[figures\]"):
        draw("map", study)


def test_scores_have_intervals_over_test_examples():
    """Half of 400 examples right: 1.96 x 2.5 points, 4.9, of an independent score of 80 and a gain of 20."""
    rows = [
        ScoreRow("zero_shot", "t", "lora", 0, "accuracy", 60.0, 400),
        ScoreRow("independent", "t", "lora", 0, "accuracy", 80.0, 400),
        ScoreRow("optimized", "t", "lora", 0, "accuracy", 50.0, 400, "lora", 4, relative=62.5, recovered=-50.0),
    ]
    for axes, middle, half in zip(scores_figure(rows).axes, (62.5, -50.0), (4.9 / 0.8, 4.9 / 0.2), strict=True):
        spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
        assert any(np.allclose(span, [middle - half, middle + half]) for span in spans)
        assert any(np.allclose(span, [middle, middle]) for span in spans)  # a single seed
    rows[2] = replace(rows[2], metric="macro_f1")
    assert len(scores_figure(rows).axes[0].lines) == 3


def test_a_landscape_has_a_line_around_where_the_deltas_agree(study):
    results = Results(study)
    landscape = results.landscape()
    assert len(landscape.slice.shape) == 2
    codes = results.subspace(landscape.slice.dim).shared_codes()
    radii = radius_of(landscape.slice.points(), codes).reshape(landscape.slice.shape).numpy()
    within = float((radii.min() + radii.max()) / 2)

    def told(trust):
        [axes] = landscape_figure(landscape, trust=trust).axes
        return [text.get_text() for text in axes.get_legend().get_texts() if "the deltas agree" in text.get_text()]

    assert told(Trust(radii, within)) == [f"within {within:g} of the source tasks' codes: the deltas agree"]
    assert told(None) == []
    # Without a line, a reader could not tell which of the two it is.
    assert told(Trust(radii, float(radii.max()) + 1)) == ["the deltas agree in all of it"]
    assert told(Trust(radii, None)) == told(Trust(radii, float(radii.min()) - 1)) == ["the deltas agree in no part of it"]


def test_where_the_deltas_agree_is_told_from_the_landscape_s_own_seed(study, tmp_path, monkeypatch):
    """Another seed's subspace has other codes, and another disagreement."""
    shutil.copytree(study, tmp_path / "study")
    spec = SliceSpec(task="three", grid="-20:20:5", seed=1, name="second")
    sample_landscape(tmp_path / "study", spec)
    told = []
    monkeypatch.setattr("deltaspace.study.disagreements.agreeing_radius", lambda rows: told.append(rows) or 0.5)
    for name, seed in (("plane", 0), ("second", 1)):
        results = Results(tmp_path / "study")
        where = trust(results, name)
        codes = read_subspace(tmp_path / "study", 3, seed).shared_codes()
        landscape = results.landscapes[name]
        expected = radius_of(landscape.slice.points(), codes).reshape(landscape.slice.shape)
        np.testing.assert_allclose(where.radii, expected.numpy(), rtol=1e-5)
        assert {(row.dim, row.seed) for row in told.pop()} == {(3, seed)}
    first, second = (read_subspace(study, 3, seed).shared_codes() for seed in (0, 1))
    assert not np.allclose(first, second)


def test_disagreement_has_a_line_for_each_pair_and_where_vectors_lie(study):
    rows, radii = read_disagreements(study), read_radii(study)
    [axes] = disagreement_figure(rows, radii).axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"adapter and lora", "adapter and prefix", "lora and prefix"} < set(labels)
    assert "where tuned vectors lie" in labels and "where tuned vectors lie" not in labels_without(rows)
    with pytest.raises(DeltaspaceError, match="no disagreement was measured"):
        disagreement_figure([])


def labels_without(rows):
    [axes] = disagreement_figure(rows).axes
    return axes.get_legend_handles_labels()[1]
