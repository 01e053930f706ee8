"""Both measures against what a sweep varies: d, source tasks, deltas."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures.style import MEASURES, looks, new_figure, plain
from deltaspace.report.tables import over_seeds
from deltaspace.study.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAGES = {"optimized": ("-", "optimization"), "transferred": ("--", "transfer")}


def sweep_figure(rows: Sequence[Row]) -> Figure:
    """Both measures against each thing that a sweep varies in numbers, a line for each kind of projections.

    Where several things vary, a line keeps the others at the most that the sweep has of them.

    Args:
        rows: of `deltaspace.study.sweep_rows`.

    Raises:
        DeltaspaceError: matplotlib is missing, or no such thing varies yet.
    """
    axis_names = {"dim": "d", "source_tasks": "source tasks", "deltas": "deltas"}
    most = {key: max((row[key] for row in rows), default=0) for key in axis_names}
    varied = [key for key in axis_names if len({row[key] for row in rows}) > 1]
    if not varied:
        raise DeltaspaceError(
            "nothing to draw: only one point is there", mend="vary d, source_tasks or deltas, or let the sweep end"
        )
    kinds = looks(list(dict.fromkeys(row["projection"] for row in rows)))
    drawn = new_figure(4 * len(varied), 6.5)
    grid = drawn.subplots(2, len(varied), squeeze=False, sharey="row")
    for column, key in enumerate(varied):
        part = [row for row in rows if all(row[other] == most[other] for other in varied if other != key)]
        for axes, measure, title in zip(grid[:, column], MEASURES, MEASURES.values(), strict=True):
            for (kind, look), (stage, (dash, label)) in itertools.product(kinds.items(), _STAGES.items()):
                own = [row for row in part if row["projection"] == kind and row["stage"] == stage]
                values = {at: over_seeds([row for row in own if row[key] == at], measure) for at in sorted({r[key] for r in own})}
                values = {at: found for at, found in values.items() if found}
                axes.plot(
                    list(values),
                    [statistics.fmean(found) for found in values.values()],
                    dash,
                    marker=look.marker,
                    color=look.color,
                    label=f"{kind}, {label}",
                    markersize=4,
                )
            axes.set_xlabel(axis_names[key])
            axes.set_ylabel(title if column == 0 else "")
            plain(axes)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawn
