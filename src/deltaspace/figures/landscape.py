"""A landscape in one picture: every delta's contours over each other with the common region; curves along a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._landscapes import Trust, draw_border, draw_lines, has_landscape, inside_colors, title, trust
from deltaspace.figures._style import Look, looks, new_figure
from deltaspace.landscape import regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.landscape import Landscape, Region


def landscape_figure(landscape: Landscape, threshold: float = DEFAULT_THRESHOLD, trust: Trust | None = None) -> Figure:
    """All deltas over each other: each one's border at the threshold, and each cell by how many deltas have it inside.

    A line is drawn as curves of each delta's scores, with the common region along it.

    Args:
        landscape: finished.
        threshold: q, in percent of each delta's best.
        trust: where the deltas agree; on a plane a gray line is drawn around it, and the legend says so where that is
            all of it or nothing.

    Raises:
        DeltaspaceError: matplotlib is missing, or the landscape is not finished.
    """
    [region] = regions(landscape, [threshold])
    delta_looks, scores = looks(landscape.deltas), landscape.filled()
    if len(landscape.slice.shape) == 1:
        figure = new_figure(6.5, 4.2)
        axes = figure.subplots()
        draw_lines(axes, landscape, scores, region, delta_looks)
        axes.set_title(title(landscape, region))
        return figure
    figure = new_figure(6.5, 6.4)
    axes = figure.subplots()
    handles: list[Artist] = []
    for delta, inside in zip(landscape.deltas, region.inside, strict=True):
        look = delta_looks[delta]
        draw_border(axes, landscape, inside, colors=[look.color], linewidths=1.8, linestyles=[look.dash])
        share = region.shares[delta].value
        handles.append(_handle(look, f"{delta}: best {region.best[delta]:.1f}, inside in {share:.0f} % of the slice"))
        _draw_mark(axes, landscape, delta, look)
    handles += _draw_cells(axes, landscape, region)
    if trust is not None:
        handles.append(_draw_trust(axes, landscape, trust))
    _draw_points(axes, landscape)
    axes.set_xlabel(landscape.slice.labels[0])
    axes.set_ylabel(landscape.slice.labels[1])
    axes.set_title(title(landscape, region))
    axes.set_aspect("equal", adjustable="box")
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    return figure


def _draw_cells(axes: Axes, landscape: Landscape, region: Region) -> list[Patch]:
    """Cells as they are counted, with no smoothing, and what their colors mean."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    count = len(landscape.deltas)
    colors = inside_colors(count)
    axes.pcolormesh(
        x, y, np.sum(region.inside, axis=0), cmap=ListedColormap(colors), vmin=-0.5, vmax=count + 0.5, zorder=0, rasterized=True
    )
    said = [
        "inside of none",
        *(f"inside of {inside} of {count}" for inside in range(1, count)),
        "inside of all: the common region",
    ]
    return [Patch(facecolor=color, edgecolor="0.45", linewidth=0.6, label=text) for color, text in zip(colors, said, strict=True)]


def _draw_trust(axes: Axes, landscape: Landscape, trust: Trust) -> Artist:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if trust.within is None or trust.within < trust.radii.min():
        return Patch(visible=False, label="the deltas agree in no part of it")
    if trust.within >= trust.radii.max():
        return Patch(visible=False, label="the deltas agree in all of it")
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    axes.contour(x, y, trust.radii, [trust.within], colors=["0.35"], linestyles=[":"], linewidths=1.5)
    label = f"within {trust.within:g} of the source tasks' codes: the deltas agree"
    return Line2D([], [], color="0.35", linestyle=":", linewidth=1.5, label=label)


def _handle(look: Look, label: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.color, linestyle=look.dash, marker=look.marker, linewidth=1.8, label=label)


def _draw_mark(axes: Axes, landscape: Landscape, delta: str, look: Look) -> None:
    if delta in landscape.marks:
        x, y = landscape.marks[delta].coordinates
        axes.plot(x, y, look.marker, color=look.color, markeredgecolor="white", markersize=8, zorder=5)


def _draw_points(axes: Axes, landscape: Landscape) -> None:
    """The points that the slice was laid through, but for the vectors that deltas found: these have their markers."""
    for name, (x, y) in landscape.slice.marks.items():
        if name not in landscape.deltas:
            axes.plot(x, y, "x", color="black", markersize=7, zorder=5)
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)


def _draw(results: Results, options: Options) -> Figure:
    landscape = results.landscape(options.landscape)
    name = options.landscape or next(iter(results.landscapes))
    return landscape_figure(landscape, options.threshold, trust(results, name))


FIGURES.register(
    Drawing(
        name="landscape",
        takes=("landscape", "threshold"),
        draw=_draw,
        drawable=has_landscape,
        caption=f"Every delta's border at {DEFAULT_THRESHOLD:g} % of its best, and each cell by how many deltas have it inside; "
        "dotted: where the deltas agree, as measured before anything was tuned; the legend says where they agree nowhere.",
        each_landscape=True,
        order=10,
    )
)
