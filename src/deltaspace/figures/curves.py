"""Training curves: the score and the loss on dev at every evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._results import check_task
from deltaspace.figures._style import looks, new_figure, plain
from deltaspace.study import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.study import Curve

# A column each, in this order.
_STAGES = ("independent", "optimized")
# More trainings than this would hide one another: only their mean is drawn.
_MANY = 12


def curves_figure(curves: Sequence[Curve], task: str | None = None) -> Figure:
    """Scores (above) and losses (below) on dev over the steps, a line for each delta; thin ones are trainings, thick ones means.

    Args:
        curves: of `deltaspace.study.read_curves`.
        task: only this one; by default the mean over all tasks of a stage.

    Raises:
        DeltaspaceError: matplotlib is missing, or nothing was trained yet.
    """
    part = [curve for curve in curves if task in (None, curve.task) and curve.stage in _STAGES and curve.points]
    if not part:
        raise DeltaspaceError("nothing to draw: nothing was trained yet", mend="run the recipe")
    stages = [stage for stage in _STAGES if any(curve.stage == stage for curve in part)]
    delta_looks = looks(list(dict.fromkeys(curve.delta for curve in part)))
    figure = new_figure(4.2 * len(stages), 5.2)
    grid = figure.subplots(2, len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        trained = [curve for curve in part if curve.stage == stage]
        for delta, look in delta_looks.items():
            lines = [curve for curve in trained if curve.delta == delta]
            for quantity, axes in enumerate(grid[:, column], start=1):
                for line in lines if 1 < len(lines) <= _MANY else ():
                    steps, values = [point[0] for point in line.points], [point[quantity] for point in line.points]
                    axes.plot(steps, values, color=look.color, linewidth=0.6, alpha=0.45)
                means = _means(lines, quantity)
                axes.plot(
                    list(means),
                    list(means.values()),
                    color=look.color,
                    linestyle=look.dash,
                    marker=look.marker,
                    markersize=4,
                    label=delta,
                )
        grid[0, column].set_title(f"{STAGES[stage].title}: {task or _tasks(trained)}")
        grid[1, column].set_xlabel("step")
        for axes in grid[:, column]:
            plain(axes)
    grid[0, 0].set_ylabel("score on dev")
    grid[1, 0].set_ylabel("loss on dev")
    grid[0, 0].legend(frameon=False)
    return figure


def _means(curves: Sequence[Curve], quantity: int) -> dict[int, float]:
    """The mean over trainings, at each step, of score (1) or loss (2); a training that ended early keeps its last value."""
    steps = sorted({point[0] for curve in curves for point in curve.points})
    return {
        step: statistics.fmean([[point[quantity] for point in curve.points if point[0] <= step][-1] for curve in curves])
        for step in steps
    }


def _tasks(curves: Sequence[Curve]) -> str:
    return f"mean of {len({curve.task for curve in curves})} tasks"


def _draw(results: Results, options: Options) -> Figure:
    curves = [curve for curve in results.curves if options.dim is None or curve.dim in (None, options.dim)]
    tasks = [curve.task for curve in curves]
    return curves_figure(curves, check_task(options.task, tasks) if tasks else None)


FIGURES.register(
    Drawing(
        name="curves",
        takes=("dim", "seed", "task"),
        draw=_draw,
        drawable=lambda results, options: bool(results.curves),
        caption="Score and loss on dev over the steps of the trainings, mean over tasks.",
        order=50,
    )
)
