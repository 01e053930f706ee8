"""A landscape in one picture: every delta's contours over each other with the common region; curves along a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._landscapes import Trust, draw_lines, has_landscape, title, trust
from deltaspace.figures._style import Look, looks, new_figure
from deltaspace.landscape import regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.landscape import Landscape, Region


def landscape_figure(landscape: Landscape, threshold: float = DEFAULT_THRESHOLD, trust: Trust | None = None) -> Figure:
    """All deltas over each other: each one's border at the threshold, a lighter contour at twice the distance, the common region.

    A line is drawn as curves of each delta's scores, with the common region along it.

    Args:
        landscape: finished.
        threshold: q, in percent of each delta's best.
        trust: where the deltas agree; on a plane a gray line is drawn around it.

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
    _draw_common(axes, landscape, region)
    handles = []
    for delta, values in zip(landscape.deltas, scores, strict=True):
        _draw_contours(axes, landscape, values, region.best[delta], threshold, delta_looks[delta])
        share = region.shares[delta].value
        handles.append(_handle(delta_looks[delta], f"{delta}: best {region.best[delta]:.1f}, {share:.0f} % of the slice"))
        _draw_mark(axes, landscape, delta, delta_looks[delta])
    if trust is not None and trust.radii.min() <= trust.within < trust.radii.max():
        handles.append(_draw_trust(axes, landscape, trust))
    _draw_points(axes, landscape)
    axes.set_xlabel(landscape.slice.labels[0])
    axes.set_ylabel(landscape.slice.labels[1])
    axes.set_title(title(landscape, region))
    axes.set_aspect("equal", adjustable="box")
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=1, frameon=False)
    return figure


def _draw_common(axes: Axes, landscape: Landscape, region: Region) -> None:
    x, y = landscape.slice.ticks
    # Cells as they are counted: no smoothing would have the area that the title states.
    shown = np.where(region.common, 1.0, np.nan)
    axes.pcolormesh(np.array(x), np.array(y), shown, cmap="Greys", vmin=0, vmax=4, rasterized=True, zorder=0)


def _draw_contours(axes: Axes, landscape: Landscape, scores: np.ndarray, best: float, threshold: float, look: Look) -> None:
    """A delta's border at the threshold, and a lighter contour twice as far from its best; none where no cell is below."""
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    border = threshold / 100 * best
    lower = best - 2 * (best - border)
    if best > 0 and scores.min() < border:
        axes.contour(x, y, scores, [border], colors=[look.color], linewidths=1.8, linestyles=[look.dash])
    if best > 0 and scores.min() < lower:
        axes.contour(x, y, scores, [lower], colors=[look.color], linewidths=0.7, linestyles=[look.dash], alpha=0.6)


def _draw_trust(axes: Axes, landscape: Landscape, trust: Trust) -> Line2D:
    from matplotlib.lines import Line2D

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
    return landscape_figure(landscape, options.threshold, trust(results, landscape))


FIGURES.register(
    Drawing(
        name="landscape",
        takes=("landscape", "threshold"),
        draw=_draw,
        drawable=has_landscape,
        caption=f"Every delta's border at {DEFAULT_THRESHOLD:g} % of its best, and the common region in gray; dotted: "
        "where the deltas agree, as measured before anything was tuned.",
        each_landscape=True,
        order=10,
    )
)
