"""Coarse to fine: in which order a grid's cells are sampled, and how cells between equal ones are filled in.

Every fourth cell along each axis comes first (and the last one of an axis), then every second, then all. A cell of a finer
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
    found: list[list[tuple[Cell, dict[Cell, float]]]] = []
    earlier: list[list[int]] | None = None
    for stride in _STRIDES:
        ticks = [sorted({*range(0, count, stride), count - 1}) for count in shape]
        own = [(cell, {} if earlier is None else dict(_parents(cell, earlier))) for cell in itertools.product(*ticks)]
        found.append([(cell, parents) for cell, parents in own if cell not in parents])
        earlier = ticks
    return found


def _parents(cell: Cell, ticks: list[list[int]]) -> Iterator[tuple[Cell, float]]:
    sides = []
    for place, own in zip(cell, ticks, strict=True):
        low, high = max(tick for tick in own if tick <= place), min(tick for tick in own if tick >= place)
        sides.append(
            [(low, 1.0)] if low == high else [(low, (high - place) / (high - low)), (high, (place - low) / (high - low))]
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
    found = np.where(done, values, np.nan)
    for cell, parents in itertools.chain.from_iterable(levels(done.shape)):
        if not done[cell] and parents:
            places: list[Any] = [(..., *own) for own in parents]
            around = np.stack([found[own] for own in places])
            if np.isfinite(around).all() and np.ptp(around, axis=0).max() <= tolerance:
                place: Any = (..., *cell)
                found[place] = np.tensordot(np.array(list(parents.values())), around, 1)
    return found
