"""Intrinsic vectors: how alike those of one task are, and where tasks lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.figures.style import looks, matrix, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.subspace import Subspace

# More places than this have no names on the map: they would hide one another.
_NAMES = 40


def similarity_figure(subspace: Subspace) -> Figure:
    """Cosines between the vectors that different deltas found for one task, seen from the mean of the source tasks' codes.

    Left the mean over all tasks for every pair of deltas, right each task. From the mean, because vectors that started there and
    hardly moved are alike by that alone; one that never moved has no direction from it, and no cosine.

    Args:
        subspace: with the vectors of its tasks (`deltaspace.study_subspace`).

    Raises:
        DeltaspaceError: matplotlib is missing, or no task has vectors of two deltas.
    """
    found = cosines(subspace)
    pairs = list(next(iter(found.values()), {}))
    if not pairs:
        raise DeltaspaceError("nothing to draw: no task has vectors that two deltas found", mend="run the recipe to the end")
    deltas = list(dict.fromkeys(delta for pair in pairs for delta in pair))
    square = np.full((len(deltas), len(deltas)), np.nan)
    for one, other in pairs:
        values = [own[one, other] for own in found.values() if np.isfinite(own.get((one, other), np.nan))]
        if values:
            place = deltas.index(one), deltas.index(other)
            square[place] = square[place[::-1]] = float(np.mean(values))
    tasks = list(found)
    drawn = new_figure(4.0 + 1.2 * len(deltas), 1.8 + 0.3 * max(len(deltas), len(tasks)))
    left, right = drawn.subplots(1, 2, width_ratios=[len(deltas), max(2, len(pairs))])
    np.fill_diagonal(square, 1.0)
    matrix(left, square, deltas, deltas, 2, (0.0, 1.0))
    left.set_title("mean over the tasks")
    each = np.array([[found[task].get(pair, np.nan) for pair in pairs] for task in tasks])
    matrix(right, each, tasks, [f"{one}\n{other}" for one, other in pairs], 2, (0.0, 1.0))
    right.set_title("each task")
    title = "cosine of the vectors that two deltas found for one task,\nfrom the mean code; – where one never moved"
    drawn.suptitle(f"d = {subspace.dim}: {title}")
    return drawn


def cosines(subspace: Subspace) -> dict[str, dict[tuple[str, str], float]]:
    """task -> pair of deltas -> cosine of their vectors, from the delta's mean code; NaN where one is there."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for task in subspace.vectors.tasks:
        own = {
            delta: vector.cpu() - subspace.start(delta).cpu()
            for (name, delta), vector in subspace.vectors.entries.items()
            if name == task
        }
        names = list(own)
        pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
        if pairs:
            found[task] = {pair: _cosine(own[pair[0]], own[pair[1]]) for pair in pairs}
    return found


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    lengths = float(one.norm() * other.norm())
    return float(one @ other) / lengths if lengths > 0 else float("nan")


def map_figure(subspace: Subspace) -> Figure:
    """Tasks by their vectors, on the two principal axes of all: a filled sign for each vector, a ring for each source code.

    Args:
        subspace: with the vectors of its tasks (`deltaspace.study_subspace`).

    Raises:
        DeltaspaceError: matplotlib is missing, or there are fewer than three points.
    """
    own = [(task, delta, vector.cpu()) for (task, delta), vector in subspace.vectors.entries.items()]
    codes = [(source, subspace.codes[:, place].mean(0).cpu()) for place, source in enumerate(subspace.sources)]
    if len(own) + len(codes) < 3:
        raise DeltaspaceError(
            "nothing to draw: a map needs three points", found=f"{len(own) + len(codes)}", mend="run the recipe to the end"
        )
    points = torch.stack([*(vector for *_, vector in own), *(code for _, code in codes)]).double()
    away = points - points.mean(0)
    _, lengths, axes_of = torch.linalg.svd(away, full_matrices=False)
    places = torch.zeros(len(points), 2, dtype=torch.float64)
    found = away @ axes_of[:2].T
    places[:, : found.shape[1]] = found
    shares = [*(100 * lengths**2 / (lengths**2).sum().clamp_min(1e-300)).tolist(), 0.0, 0.0]
    drawn = new_figure(6.5, 5.5)
    axes = drawn.subplots()
    seen = looks(list(dict.fromkeys(delta for _, delta, _ in own)))
    for delta, look in seen.items():
        part = places[[index for index, (_, other, _) in enumerate(own) if other == delta]]
        axes.plot(part[:, 0], part[:, 1], look.marker, color=look.color, markersize=6, label=f"found through {delta}")
    if codes:
        part = places[len(own) :]
        axes.plot(
            part[:, 0],
            part[:, 1],
            "o",
            markerfacecolor="none",
            markeredgecolor="0.3",
            markersize=8,
            label="code of a source task",
        )
    names: dict[tuple[float, float], list[str]] = {}
    tasks = [task for task, *_ in own] + [task for task, _ in codes]
    for task, (x, y) in zip(tasks, places.tolist(), strict=True):
        # Vectors that never left their start lie on one another.
        names.setdefault((round(x, 6), round(y, 6)), []).append(task)
    for at, several in names.items() if len(names) <= _NAMES else ():
        axes.annotate(", ".join(dict.fromkeys(several)), at, textcoords="offset points", xytext=(7, 5), fontsize=8)
    axes.set_xlabel(f"first principal axis ({shares[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal axis ({shares[1]:.0f} %)")
    axes.set_title(f"Tasks by their vectors, d = {subspace.dim}")
    plain(axes)
    axes.margins(0.15)
    axes.legend(loc="best", frameon=False)
    return drawn
