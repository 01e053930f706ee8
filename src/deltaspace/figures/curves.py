"""Training curves: the score and the loss on dev at every evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError
from deltaspace.figures.style import looks, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = dict[str, Any]
_STAGES = {"independent": "independent solutions", "optimized": "optimization"}
_MOST = 12


def curves_figure(curves: Sequence[Curve], task: str | None = None) -> Figure:
    """Scores (above) and losses (below) on dev over the steps, a line for each delta; thin ones are trainings, thick ones means.

    Args:
        curves: of `deltaspace.figures.study_curves`.
        task: only this one; by default the mean over all tasks of a stage.

    Raises:
        DeltaspaceError: matplotlib is missing, or nothing was trained yet.
    """
    part = [curve for curve in curves if task in (None, curve["task"]) and curve["curve"]]
    if not part:
        raise DeltaspaceError("nothing to draw: nothing was trained yet", mend="run the recipe")
    stages = [stage for stage in _STAGES if any(curve["stage"] == stage for curve in part)]
    seen = looks(list(dict.fromkeys(curve["delta"] for curve in part)))
    drawn = new_figure(4.2 * len(stages), 5.2)
    grid = drawn.subplots(2, len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        own = [curve for curve in part if curve["stage"] == stage]
        for delta, look in seen.items():
            lines = [curve["curve"] for curve in own if curve["delta"] == delta]
            for row, axes in enumerate(grid[:, column]):
                for line in lines if 1 < len(lines) <= _MOST else ():
                    axes.plot([at[0] for at in line], [at[1 + row] for at in line], color=look.color, linewidth=0.6, alpha=0.45)
                means = _means(lines, 1 + row)
                axes.plot(
                    list(means),
                    list(means.values()),
                    color=look.color,
                    linestyle=look.dash,
                    marker=look.marker,
                    markersize=4,
                    label=delta,
                )
        grid[0, column].set_title(f"{_STAGES[stage]}: {task or _several(own)}")
        grid[1, column].set_xlabel("step")
        for axes in grid[:, column]:
            plain(axes)
    grid[0, 0].set_ylabel("score on dev")
    grid[1, 0].set_ylabel("loss on dev")
    grid[0, 0].legend(frameon=False)
    return drawn


def _means(lines: Sequence[Sequence[Sequence[float]]], part: int) -> Mapping[int, float]:
    """The mean over trainings at each step; one that ended early stays at its last value."""
    steps = sorted({int(at[0]) for line in lines for at in line})
    return {step: statistics.fmean([[at[part] for at in line if at[0] <= step][-1] for line in lines]) for step in steps}


def _several(curves: Sequence[Curve]) -> str:
    return f"mean of {len({curve['task'] for curve in curves})} tasks"
