"""A landscape with a panel for each delta: its scores or losses, and the trajectory of its optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._landscapes import draw_border, draw_lines, has_landscape, title
from deltaspace.figures._style import Look, looks, new_figure, plain
from deltaspace.landscape import regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options, Quantity
    from deltaspace.figures._results import Results
    from deltaspace.landscape import Landscape, Region


def panels_figure(landscape: Landscape, quantity: Quantity = "score", threshold: float = DEFAULT_THRESHOLD) -> Figure:
    """A panel for each delta: its scores or losses as shades, its border at the threshold, the trajectory of its optimizer.

    A line has scores above and losses below.

    Args:
        landscape: finished.
        quantity: score or loss, of a plane.
        threshold: q, in percent of each delta's best.

    Raises:
        DeltaspaceError: matplotlib is missing, or the landscape is not finished.
    """
    [region] = regions(landscape, [threshold])
    scores, losses = landscape.filled(), landscape.filled("loss")
    if len(landscape.slice.shape) == 1:
        return _lines(landscape, region, scores, losses)
    values = scores if quantity == "score" else losses
    count = len(landscape.deltas)
    figure = new_figure(2.9 * count + 0.9, 3.7)
    grid = figure.subplots(1, count, sharey=True, squeeze=False)
    x, y = (np.array(ticks) for ticks in landscape.slice.ticks)
    low, high = shade_limits(values, quantity)
    for axes, delta, shades, inside in zip(grid[0], landscape.deltas, values, region.inside, strict=True):
        cmap = "viridis" if quantity == "score" else "viridis_r"
        axes.pcolormesh(x, y, shades, cmap=cmap, vmin=low, vmax=high, rasterized=True)
        draw_border(axes, landscape, inside, colors=["white"], linewidths=1.4)
        _draw_trajectory(axes, landscape, delta)
        axes.set_title(f"{delta}: best {region.best[delta]:.1f}")
        axes.set_xlabel("horizontal")
    grid[0, 0].set_ylabel("vertical")
    label = landscape.metric if quantity == "score" else "loss"
    figure.colorbar(grid[0, 0].collections[0], ax=grid[0].tolist(), label=label, shrink=0.9)
    figure.suptitle(
        f"{landscape.task}: white line at {threshold:g} % of the delta's best; path of its optimizer from the ring to the star"
    )
    return figure


def shade_limits(values: np.ndarray, quantity: Quantity) -> tuple[float, float]:
    """Between which values there are shades, the same for all deltas: the few worst losses would leave none for the others."""
    return float(values.min()), float(values.max() if quantity == "score" else np.percentile(values, 95))


def _lines(landscape: Landscape, region: Region, scores: np.ndarray, losses: np.ndarray) -> Figure:
    delta_looks: dict[str, Look] = looks(landscape.deltas)
    figure = new_figure(6.5, 6.0)
    above, below = figure.subplots(2, 1, sharex=True)
    draw_lines(above, landscape, scores, region, delta_looks)
    above.set_xlabel("")
    figure.suptitle(title(landscape, region))
    for delta, values in zip(landscape.deltas, losses, strict=True):
        look = delta_looks[delta]
        below.plot(landscape.slice.ticks[0], values, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3)
    below.set_xlabel(landscape.slice.labels[0])
    below.set_ylabel("loss")
    plain(below)
    return figure


def _draw_trajectory(axes: Axes, landscape: Landscape, delta: str) -> None:
    if delta in landscape.trajectories:
        trajectory = np.array(landscape.trajectories[delta])
        axes.plot(trajectory[:, 0], trajectory[:, 1], color="white", linewidth=2.4)
        axes.plot(trajectory[:, 0], trajectory[:, 1], color="black", linewidth=1.0)
        axes.plot(*trajectory[0], "o", markerfacecolor="none", markeredgecolor="black", markersize=6)
    if delta in landscape.marks:
        axes.plot(*landscape.marks[delta].coordinates, "*", color="black", markeredgecolor="white", markersize=12)
    horizontal, vertical = landscape.slice.grids
    axes.set_xlim(horizontal.low, horizontal.high)
    axes.set_ylim(vertical.low, vertical.high)


def _draw(results: Results, options: Options) -> Figure:
    return panels_figure(results.landscape(options.landscape), options.quantity, options.threshold)


FIGURES.register(
    Drawing(
        name="panels",
        takes=("landscape", "threshold", "quantity"),
        draw=_draw,
        drawable=has_landscape,
        caption=f"Scores of each delta, with its border at {DEFAULT_THRESHOLD:g} % of its best and the path of its optimizer.",
        each_landscape=True,
        order=20,
    )
)
