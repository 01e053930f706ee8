"""Coarse to fine: in which order a grid's cells are sampled, and how cells between equal ones are filled in.

Every fourth cell along each axis comes first (and the last of an axis), then every second, then all. A cell of a finer
level lies between up to four cells of the level before, its parents; its value can be interpolated from theirs,
linearly along each axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_STRIDES = (4, 2, 1)
Cell = tuple[int, ...]


def levels(shape: Sequence[int]) -> list[list[tuple[Cell, dict[Cell, float]]]]:
    """The cells of each level with their parents and the parents' weights; those of the first level have none."""
    ordered: list[list[tuple[Cell, dict[Cell, float]]]] = []
    earlier: list[list[int]] | None = None
    for stride in _STRIDES:
        ticks = [sorted({*range(0, count, stride), count - 1}) for count in shape]
        level = [(cell, {} if earlier is None else dict(_parents(cell, earlier))) for cell in itertools.product(*ticks)]
        ordered.append([(cell, parents) for cell, parents in level if cell not in parents])
        earlier = ticks
    return ordered


def _parents(cell: Cell, ticks: list[list[int]]) -> Iterator[tuple[Cell, float]]:
    sides = []
    for index, coarse in zip(cell, ticks, strict=True):
        low, high = max(tick for tick in coarse if tick <= index), min(tick for tick in coarse if tick >= index)
        sides.append(
            [(low, 1.0)] if low == high else [(low, (high - index) / (high - low)), (high, (index - low) / (high - low))]
        )
    for corner in itertools.product(*sides):
        yield tuple(tick for tick, _ in corner), float(np.prod([weight for _, weight in corner]))


def filled(values: np.ndarray, done: np.ndarray, tolerance: float = np.inf) -> np.ndarray:
    """A grid's values where they are known, else interpolated from a cell's parents where these are known; else NaN.

    Args:
        values: (…, *shape).
        done: where they are known, (*shape).
        tolerance: only between parents that differ by at most this.
    """
    known = np.where(done, values, np.nan)
    for cell, parents in itertools.chain.from_iterable(levels(done.shape)):
        if not done[cell] and parents:
            indices: list[Any] = [(..., *parent) for parent in parents]
            around = np.stack([known[index] for index in indices])
            if np.isfinite(around).all() and np.ptp(around, axis=0).max() <= tolerance:
                target: Any = (..., *cell)
                known[target] = np.tensordot(np.array(list(parents.values())), around, 1)
    return known
