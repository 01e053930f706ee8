"""The transfer matrix: from each delta's vectors to each delta's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deltaspace.errors import DeltaspaceError
from deltaspace.figures.style import MEASURES, matrix, new_figure
from deltaspace.report.tables import average
from deltaspace.study.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transfer_figure(rows: Sequence[Row], dim: int | None = None, task: str | None = None) -> Figure:
    """Averages over the unseen tasks, or one task: a vector found through a row's delta, decoded as a column's.

    The diagonal is optimization: no transfer at all.

    Args:
        rows: of `deltaspace.study.rows`.
        dim: which d; the smallest by default.
        task: only this one.

    Raises:
        DeltaspaceError: matplotlib is missing, nothing was transferred yet, or there is no such task.
    """
    part = [row for row in rows if row["stage"] in ("optimized", "transferred") and task in (None, row["task"])]
    if not any(row["stage"] == "transferred" for row in part):
        raise DeltaspaceError(
            "nothing to draw: nothing was transferred yet", mend="run the recipe to the end, with two deltas or more"
        )
    dim = dim or min(row["dim"] for row in part)
    part = [row for row in part if row["dim"] == dim]
    deltas = list(dict.fromkeys(row["delta"] for row in part))
    drawn = new_figure(2.6 + 1.3 * len(deltas), 1.6 + 0.45 * len(deltas))
    for axes, (measure, title) in zip(drawn.subplots(1, 2, sharey=True), MEASURES.items(), strict=True):
        cells = np.array([[_mean(part, source, delta, measure) for delta in deltas] for source in deltas], dtype=float)
        low = float(min(0, np.nanmin(cells))) if np.isfinite(cells).any() else 0.0
        matrix(axes, cells, deltas, deltas, 1, (low, 100.0))
        axes.set_title(title)
        axes.set_xlabel("decoded as")
    drawn.axes[0].set_ylabel("found through")
    drawn.suptitle(f"Transfer, d = {dim}: {task or 'average over the unseen tasks'}")
    return drawn


def _mean(rows: Sequence[Row], source: str, delta: str, measure: str) -> float:
    found = average([row for row in rows if (row["source_delta"], row["delta"]) == (source, delta)], measure)
    return np.nan if found is None else found
