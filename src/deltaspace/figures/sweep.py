"""Both measures against what a parameter sweep varies: d, source tasks, deltas."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltaspace.averages import over_seeds
from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._style import MEASURES, looks, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.averages import Measure
    from deltaspace.study import SweepRow

_DASHES = {"optimized": ("-", "optimization"), "transferred": ("--", "transfer")}
_SETTINGS = {"dim": "d", "source_tasks": "source tasks", "deltas": "deltas"}


def sweep_figure(rows: Sequence[SweepRow]) -> Figure:
    """Both measures against each setting that a sweep varies in numbers, a line for each kind of projections.

    Where several settings vary, a line keeps the others at the largest number that the sweep has of them.

    Args:
        rows: of `deltaspace.study.read_sweep_scores`.

    Raises:
        DeltaspaceError: matplotlib is missing, or no such setting varies yet.
    """
    numbers = {setting: {getattr(row, setting) for row in rows} for setting in _SETTINGS}
    varied = [setting for setting in _SETTINGS if len(numbers[setting]) > 1]
    if not varied:
        raise DeltaspaceError(
            "nothing to draw: only one point is there", mend="vary d, source_tasks or deltas, or let the sweep end"
        )
    kind_looks = looks(list(dict.fromkeys(row.projection for row in rows)))
    figure = new_figure(4.0 * len(varied), 6.5)
    grid = figure.subplots(2, len(varied), squeeze=False, sharey="row")
    for column, setting in enumerate(varied):
        fixed = {other: max(numbers[other]) for other in varied if other != setting}
        part = [row for row in rows if all(getattr(row, other) == number for other, number in fixed.items())]
        for axes, measure, title in zip(grid[:, column], MEASURES, MEASURES.values(), strict=True):
            for (kind, look), (stage, (dash, label)) in itertools.product(kind_looks.items(), _DASHES.items()):
                line = _line([row for row in part if (row.projection, row.stage) == (kind, stage)], setting, measure)
                axes.plot(
                    list(line),
                    list(line.values()),
                    dash,
                    marker=look.marker,
                    color=look.color,
                    label=f"{kind}, {label}",
                    markersize=4,
                )
            axes.set_xlabel(_SETTINGS[setting])
            axes.set_ylabel(title if column == 0 else "")
            plain(axes)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _line(rows: Sequence[SweepRow], setting: str, measure: Measure) -> dict[int, float]:
    """The mean of a measure over tasks, deltas and seeds at each number of a setting; without those where it is not defined."""
    line = {}
    for number in sorted({getattr(row, setting) for row in rows}):
        if means := over_seeds([row for row in rows if getattr(row, setting) == number], measure):
            line[number] = statistics.fmean(means)
    return line


FIGURES.register(
    Drawing(
        name="sweep",
        draw=lambda results, options: sweep_figure([row for row in results.sweep_scores if options.dim in (None, row.dim)]),
        drawable=lambda results, options: bool(results.sweep_scores),
        caption="Both measures against what the sweep varies.",
        of="sweep",
    )
)
