"""How alike the intrinsic vectors are that different deltas found for one task."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._style import matrix, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.subspace import Subspace

Pair = tuple[str, str]


def similarity_figure(subspace: Subspace) -> Figure:
    """Cosines between the vectors that different deltas found for one task, seen from the mean of the source tasks' codes.

    Left the mean over all tasks for every pair of deltas, right each task. From the mean, because vectors that started there and
    hardly moved are alike by that alone; one that never moved has no direction from it, and no cosine.

    Args:
        subspace: with the vectors of its tasks (`deltaspace.study.read_subspace`).

    Raises:
        DeltaspaceError: matplotlib is missing, no task has vectors of two deltas, or the deltas share no codes.
    """
    by_task = cosines(subspace)
    pairs = list(next(iter(by_task.values()), {}))
    if not pairs:
        raise DeltaspaceError("nothing to draw: no task has vectors that two deltas found", mend="run the recipe to the end")
    deltas = list(dict.fromkeys(delta for pair in pairs for delta in pair))
    tasks = list(by_task)
    figure = new_figure(4.0 + 1.2 * len(deltas), 1.8 + 0.3 * max(len(deltas), len(tasks)))
    left, right = figure.subplots(1, 2, width_ratios=[len(deltas), max(2, len(pairs))])
    matrix(left, _means(by_task, deltas), deltas, deltas, 2, (0.0, 1.0))
    left.set_title("mean over the tasks")
    each_task = np.array([[by_task[task].get(pair, np.nan) for pair in pairs] for task in tasks])
    matrix(right, each_task, tasks, [f"{first}\n{second}" for first, second in pairs], 2, (0.0, 1.0))
    right.set_title("each task")
    title = "cosine of the vectors that two deltas found for one task,\nfrom the mean code; – where one never moved"
    figure.suptitle(f"d = {subspace.dim}: {title}")
    return figure


def cosines(subspace: Subspace) -> dict[str, dict[Pair, float]]:
    """task -> pair of deltas -> cosine of their vectors, from the delta's mean code; NaN where a vector is there.

    Raises:
        DeltaspaceError: the deltas share no codes, so that angles between their vectors mean nothing.
    """
    if not subspace.shared:
        raise DeltaspaceError(
            "vectors of different deltas cannot be compared: the deltas of this subspace share no codes",
            mend="use a projection method with shared codes, such as svd",
        )
    by_task: dict[str, dict[Pair, float]] = {}
    for task in subspace.vectors.tasks:
        moves = {
            delta: vector.cpu() - subspace.mean_code(delta).cpu()
            for (name, delta), vector in subspace.vectors.entries.items()
            if name == task
        }
        if len(moves) > 1:
            by_task[task] = {(a, b): _cosine(moves[a], moves[b]) for a, b in combinations(moves, 2)}
    return by_task


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths > 0 else float("nan")


def _means(by_task: Mapping[str, Mapping[Pair, float]], deltas: list[str]) -> np.ndarray:
    """Means over the tasks, (deltas, deltas); NaN for a pair without a cosine."""
    square = np.full((len(deltas), len(deltas)), np.nan)
    np.fill_diagonal(square, 1.0)
    for a, b in combinations(deltas, 2):
        values = [pairs.get((a, b), pairs.get((b, a), np.nan)) for pairs in by_task.values()]
        if known := [value for value in values if np.isfinite(value)]:
            row, column = deltas.index(a), deltas.index(b)
            square[row, column] = square[column, row] = float(np.mean(known))
    return square


def _drawable(results: Results, options: Options) -> bool:
    deltas = {row.delta for row in results.scores if row.stage == "optimized"}
    return len(deltas) > 1 and results.subspace(options.dim).shared


FIGURES.register(
    Drawing(
        name="similarity",
        draw=lambda results, options: similarity_figure(results.subspace(options.dim)),
        drawable=_drawable,
        caption="Cosine of the vectors that two deltas found for one task, seen from the mean of the source tasks' codes.",
        order=30,
    )
)
