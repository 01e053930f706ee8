"""Disagreement against radius: how far from the source tasks' codes transfer between two deltas can be trusted."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._style import looks, new_figure, plain
from deltaspace.subspace.agreement import AGREE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.study import DisagreementRow, VectorRadius


def disagreement_figure(rows: Sequence[DisagreementRow], radii: Sequence[VectorRadius] = ()) -> Figure:
    """A line for each pair of deltas, over a box of the radii at which the tuned vectors lie; one picture for each d.

    Args:
        rows: of `deltaspace.study.read_disagreements`.
        radii: of `deltaspace.study.read_radii`.

    Raises:
        DeltaspaceError: matplotlib is missing, or nothing was measured.
    """
    if not rows:
        raise DeltaspaceError(
            "nothing to draw: no disagreement was measured yet",
            mend="run the recipe, with two deltas or more, shared codes, and without 'disagreement: false'",
        )
    dims = sorted({row.dim for row in rows})
    figure = new_figure(4.6 * len(dims), 4.6)
    for axes, dim in zip(figure.subplots(1, len(dims), squeeze=False)[0], dims, strict=True):
        _draw(axes, [row for row in rows if row.dim == dim], [vector.radius for vector in radii if vector.dim == dim])
        axes.set_title(f"d = {dim}")
    return figure


def _draw(axes: Axes, rows: Sequence[DisagreementRow], radii: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    pairs = list(dict.fromkeys((row.first, row.second) for row in rows))
    pair_looks = looks([f"{first} and {second}" for first, second in pairs])
    for (first, second), (label, look) in zip(pairs, pair_looks.items(), strict=True):
        part = [row for row in rows if (row.first, row.second) == (first, second)]
        ticks = sorted({row.radius for row in part})
        means = [statistics.fmean(row.disagreement for row in part if row.radius == tick) for tick in ticks]
        axes.plot(ticks, means, color=look.color, linestyle=look.dash, marker=look.marker, markersize=4, label=label)
    axes.axhline(AGREE, color="0.5", linewidth=0.8, linestyle=":")
    if radii:
        low, middle, high = min(radii), statistics.median(radii), max(radii)
        axes.axvspan(low, high, color="0.93", linewidth=0, zorder=0, label="where tuned vectors lie")
        axes.axvline(middle, color="0.7", linewidth=1.0, zorder=0, label="their median")
    axes.set_yscale("log")
    # 0.2 and 0.5 are read faster than powers of ten, of which few may be on the axis.
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("distance from the source tasks' codes, in their mean length")
    axes.set_ylabel("disagreement (0: the same function, 1: nothing in common)")
    axes.legend(frameon=False)
    plain(axes)


def _draw_results(results: Results, options: Options) -> Figure:
    rows = [row for row in results.disagreements if options.dim in (None, row.dim)]
    return disagreement_figure(rows, results.radii)


FIGURES.register(
    Drawing(
        name="disagreement",
        draw=_draw_results,
        drawable=lambda results, options: bool(results.disagreements),
        caption="How far two deltas compute different functions, against the distance from the source tasks' codes. Below "
        f"the dotted line ({AGREE:g}) they agree more than they differ: vectors tuned in there can be transferred.",
        order=25,
    )
)
