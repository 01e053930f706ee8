"""The transfer matrix: from each delta's vectors to each delta's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deltaspace.averages import average
from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._results import check_dim, check_task
from deltaspace.figures._style import MEASURES, matrix, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.averages import Measure
    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.study import ScoreRow

_STAGES = ("optimized", "transferred")


def transfer_figure(rows: Sequence[ScoreRow], dim: int | None = None, task: str | None = None) -> Figure:
    """Averages over the unseen tasks, or one task: a vector found through a row's delta, decoded as a column's.

    The diagonal is optimization: no transfer at all.

    Args:
        rows: of `deltaspace.study.read_scores`.
        dim: which d; the smallest by default.
        task: only this one.

    Raises:
        DeltaspaceError: matplotlib is missing, nothing was transferred yet, or there is no such task.
    """
    part = [row for row in rows if row.stage in _STAGES and task in (None, row.task)]
    if not any(row.stage == "transferred" for row in part):
        raise DeltaspaceError(
            "nothing to draw: nothing was transferred yet", mend="run the recipe to the end, with two deltas or more"
        )
    dim = check_dim(dim, part)
    part = [row for row in part if row.dim == dim]
    deltas = list(dict.fromkeys(row.delta for row in part))
    figure = new_figure(2.6 + 1.3 * len(deltas), 1.6 + 0.45 * len(deltas))
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharey=True), MEASURES.items(), strict=True):
        cells = np.array([[_mean(part, source, delta, measure) for delta in deltas] for source in deltas], dtype=float)
        low = float(min(0, np.nanmin(cells))) if np.isfinite(cells).any() else 0.0
        matrix(axes, cells, deltas, deltas, 1, (low, 100.0))
        axes.set_title(title)
        axes.set_xlabel("decoded as")
    figure.axes[0].set_ylabel("found through")
    figure.suptitle(f"Transfer, d = {dim}: {task or 'average over the unseen tasks'}")
    return figure


def _mean(rows: Sequence[ScoreRow], source: str, delta: str, measure: Measure) -> float:
    mean = average([row for row in rows if (row.source_delta, row.delta) == (source, delta)], measure)
    return np.nan if mean is None else mean


def _draw(results: Results, options: Options) -> Figure:
    tasks = [row.task for row in results.scores if row.stage in _STAGES]
    return transfer_figure(results.scores, options.dim, check_task(options.task, tasks) if tasks else None)


FIGURES.register(
    Drawing(
        name="transfer",
        takes=("dim", "seed", "task"),
        draw=_draw,
        drawable=lambda results, options: any(row.stage == "transferred" for row in results.scores),
        caption="Averages over the unseen tasks: a vector found through a row's delta, decoded as a column's.",
        order=20,
    )
)
