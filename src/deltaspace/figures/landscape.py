"""Landscapes as figures: every delta's contours over each other with the common region, or a panel for each; lines for a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from deltaspace.landscape import Landscape, Region, regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD
from deltaspace.figures.style import Look, looks, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

What = Literal["score", "loss"]


def landscape_figure(landscape: Landscape, threshold: float = DEFAULT_THRESHOLD) -> Figure:
    """All deltas over each other: each one's border at the threshold, a lighter contour at twice the distance, the common region.

    A path is drawn as lines of each delta's scores, with the common region along it.

    Args:
        landscape: finished.
        threshold: q, in percent of each delta's best.

    Raises:
        DeltaspaceError: matplotlib is missing, or the landscape is not finished.
    """
    [region] = regions(landscape, [threshold])
    seen = looks(landscape.deltas)
    scores = landscape.filled()
    if len(landscape.slice.shape) == 1:
        drawn = new_figure(6.5, 4.2)
        axes = drawn.subplots()
        _lines(axes, landscape, scores, region, seen)
        axes.set_title(_title(landscape, region))
        return drawn
    drawn = new_figure(6.5, 6.4)
    axes = drawn.subplots()
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    _fill_common(axes, x, y, region)
    handles = []
    for delta, own in zip(landscape.deltas, scores, strict=True):
        look, best = seen[delta], region.best[delta]
        bar = threshold / 100 * best
        lower = best - 2 * (best - bar)
        if best > 0 and own.min() < bar:
            axes.contour(x, y, own, [bar], colors=[look.color], linewidths=1.8, linestyles=[look.dash])
        if best > 0 and own.min() < lower:
            axes.contour(x, y, own, [lower], colors=[look.color], linewidths=0.7, linestyles=[look.dash], alpha=0.6)
        share = region.shares[delta]
        handles.append(_handle(look, f"{delta}: best {best:.1f}, {share.value:.0f} % of the slice"))
        _mark(axes, landscape, delta, look)
    _points(axes, landscape)
    axes.set_xlabel(landscape.slice.labels[0])
    axes.set_ylabel(landscape.slice.labels[1])
    axes.set_title(_title(landscape, region))
    axes.set_aspect("equal", adjustable="box")
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=1, frameon=False)
    return drawn


def panels_figure(landscape: Landscape, what: What = "score", threshold: float = DEFAULT_THRESHOLD) -> Figure:
    """A panel for each delta: its scores or losses as shades, its border at the threshold, the way of its optimizer.

    A path has lines of scores above and of losses below.

    Args:
        landscape: finished.
        what: score or loss, of a plane.
        threshold: q, in percent of each delta's best.

    Raises:
        DeltaspaceError: matplotlib is missing, or the landscape is not finished.
    """
    [region] = regions(landscape, [threshold])
    seen, scores, losses = looks(landscape.deltas), landscape.filled(), landscape.filled("loss")
    if len(landscape.slice.shape) == 1:
        drawn = new_figure(6.5, 6.0)
        above, below = drawn.subplots(2, 1, sharex=True)
        _lines(above, landscape, scores, region, seen)
        above.set_xlabel("")
        for delta, own in zip(landscape.deltas, losses, strict=True):
            look = seen[delta]
            below.plot(landscape.slice.ticks[0], own, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3)
        below.set_xlabel(landscape.slice.labels[0])
        below.set_ylabel("loss")
        plain(below)
        above.set_title(_title(landscape, region))
        return drawn
    values = scores if what == "score" else losses
    count = len(landscape.deltas)
    drawn = new_figure(2.9 * count + 0.9, 3.7)
    grid = drawn.subplots(1, count, sharey=True, squeeze=False)
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    # The same shades in all panels; the few worst cells of losses would leave no shade for the rest.
    low, high = float(values.min()), float(values.max() if what == "score" else np.percentile(values, 95))
    for axes, delta, own, score in zip(grid[0], landscape.deltas, values, scores, strict=True):
        axes.pcolormesh(x, y, own, cmap="viridis" if what == "score" else "viridis_r", vmin=low, vmax=high, rasterized=True)
        best = region.best[delta]
        if best > 0 and score.min() < threshold / 100 * best:
            axes.contour(x, y, score, [threshold / 100 * best], colors=["white"], linewidths=1.4)
        _way(axes, landscape, delta)
        axes.set_title(f"{delta}: best {best:.1f}")
        axes.set_xlabel("horizontal")
    grid[0, 0].set_ylabel("vertical")
    drawn.colorbar(
        grid[0, 0].collections[0], ax=grid[0].tolist(), label=landscape.metric if what == "score" else "loss", shrink=0.9
    )
    drawn.suptitle(
        f"{landscape.task}: white line {threshold:g} % of the delta's best; its optimizer's way from the ring to the star"
    )
    return drawn


def _title(landscape: Landscape, region: Region) -> str:
    common, union = region.shares["common"], region.shares["union"]
    return (
        f"{landscape.task}: every delta at {region.threshold:g} % of its best or more in {common.value:.1f} % of the slice\n"
        f"(95 % interval {common.low:.1f}–{common.high:.1f}; {union.value:.0f} % of the union; "
        f"{landscape.examples} {landscape.split} examples)"
    )


def _lines(axes: Axes, landscape: Landscape, scores: np.ndarray, region: Region, seen: dict[str, Look]) -> None:
    x = np.array(landscape.slice.ticks[0])
    edges = np.concatenate([x[:1], (x[:-1] + x[1:]) / 2, x[-1:]])
    for cell in np.flatnonzero(region.common):
        axes.axvspan(edges[cell], edges[cell + 1], color="0.9", linewidth=0)
    for delta, own in zip(landscape.deltas, scores, strict=True):
        look = seen[delta]
        axes.plot(x, own, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3, label=delta)
    for name, place in landscape.slice.marks.items():
        axes.axvline(place[0], color="0.5", linewidth=0.8)
        right = place[0] > x.mean()
        axes.annotate(
            name,
            (place[0], 0),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if right else 3, 4),
            ha="right" if right else "left",
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel(landscape.slice.labels[0])
    axes.set_ylabel(landscape.metric)
    axes.legend(frameon=False)
    plain(axes)


def _fill_common(axes: Axes, x: np.ndarray, y: np.ndarray, region: Region) -> None:
    # Cells as they are counted: no smoothing would have the area that the title states.
    shown = np.where(region.common, 1.0, np.nan)
    axes.pcolormesh(x, y, shown, cmap="Greys", vmin=0, vmax=4, rasterized=True, zorder=0)


def _handle(look: Look, label: str) -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.color, linestyle=look.dash, marker=look.marker, linewidth=1.8, label=label)


def _mark(axes: Axes, landscape: Landscape, delta: str, look: Look) -> None:
    if delta in landscape.marks:
        x, y = landscape.marks[delta]["place"]
        axes.plot(x, y, look.marker, color=look.color, markeredgecolor="white", markersize=8, zorder=5)


def _points(axes: Axes, landscape: Landscape) -> None:
    """The points that the slice was laid through which are no delta's own vector: these have their markers."""
    for name, (x, y) in landscape.slice.marks.items():
        if name not in landscape.deltas:
            axes.plot(x, y, "x", color="black", markersize=7, zorder=5)
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)


def _way(axes: Axes, landscape: Landscape, delta: str) -> None:
    low = [grid.low for grid in landscape.slice.grids]
    high = [grid.high for grid in landscape.slice.grids]
    if delta in landscape.paths:
        way = np.array(landscape.paths[delta])
        axes.plot(way[:, 0], way[:, 1], color="white", linewidth=2.4)
        axes.plot(way[:, 0], way[:, 1], color="black", linewidth=1.0)
        axes.plot(*way[0], "o", markerfacecolor="none", markeredgecolor="black", markersize=6)
    if delta in landscape.marks:
        axes.plot(*landscape.marks[delta]["place"], "*", color="black", markeredgecolor="white", markersize=12)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
