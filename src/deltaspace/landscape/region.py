"""The common region: where every delta reaches at least q percent of its own best on the slice.

Shares are shares of the grid's cells. Their intervals are percentile bootstraps over the examples. Each delta's best cell is
chosen once, on all examples, and stays: the best of hundreds of noisy cells, anew in every sample, would raise the bar twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape.landscape import Landscape
from deltaspace.landscape.resampled import resampled_scores

_LEVEL = 95.0
DEFAULT_THRESHOLD = 95.0


@dataclass(frozen=True)
class Share:
    """A share in percent, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Region:
    """Where deltas do well, at one threshold.

    Args:
        threshold: q, in percent of each delta's best.
        best: each delta's best score on the slice.
        inside: each delta's region, (deltas, *shape).
        common: their intersection, (*shape).
        largest: its largest connected part (cells that share a side), (*shape).
        shares: of the slice: each delta's region by its name, `common`, `largest`; `union`: the common region's share of the
            union of all regions.
    """

    threshold: float
    best: dict[str, float]
    inside: Bool[np.ndarray, "deltas ..."]
    common: Bool[np.ndarray, ...]
    largest: Bool[np.ndarray, ...]
    shares: dict[str, Share]


def regions(
    landscape: Landscape, thresholds: Sequence[float] = (DEFAULT_THRESHOLD,), samples: int = 1000, seed: int = 0
) -> list[Region]:
    """The regions of a landscape at some thresholds.

    Args:
        landscape: every cell sampled or filled in.
        thresholds: in percent, each above 0 and at most 100.
        samples: of the bootstrap.
        seed: decides them.

    Raises:
        DeltaspaceError: cells are missing, or a threshold is out of range.
    """
    for threshold in thresholds:
        check_threshold(threshold)
    scores = landscape.filled()
    if np.isnan(scores).any():
        raise DeltaspaceError(
            "the landscape is not finished",
            found=f"{100 * landscape.progress:.0f} % of its cells",
            mend="run it again: it goes on",
        )
    flat = scores.reshape(len(landscape.deltas), -1)
    resampled = resampled_scores(landscape, samples, seed)
    best = flat.argmax(1)
    return [_region(landscape, flat, best, resampled, float(threshold)) for threshold in thresholds]


def check_threshold(threshold: float) -> None:
    """Raise DeltaspaceError unless this is a percentage that a region can have."""
    if not 0 < threshold <= 100:
        raise DeltaspaceError(f"no threshold {threshold:g}", expected="a percentage above 0 and at most 100")


def _region(landscape: Landscape, flat: np.ndarray, best: np.ndarray, resampled: np.ndarray, threshold: float) -> Region:
    shape = landscape.slice.shape
    inside = _inside(flat, best, threshold)
    common = np.logical_and.reduce(inside)
    largest = largest_part(common.reshape(shape))
    again = _inside(resampled, best, threshold)
    together = np.logical_and.reduce(again)
    shares = {
        name: _share(100 * cells.mean(), 100 * drawn.mean(1))
        for name, cells, drawn in zip(landscape.deltas, inside, again, strict=True)
    }
    shares["common"] = _share(100 * common.mean(), 100 * together.mean(1))
    parts = np.array([largest_part(cells.reshape(shape)).mean() for cells in together])
    shares["largest"] = _share(100 * largest.mean(), 100 * parts)
    shares["union"] = _share(_of_union(common, np.logical_or.reduce(inside)), _of_union(together, np.logical_or.reduce(again)))
    bests = {name: float(scores[index]) for name, scores, index in zip(landscape.deltas, flat, best, strict=True)}
    return Region(threshold, bests, inside.reshape(-1, *shape), common.reshape(shape), largest, shares)


def _inside(scores: np.ndarray, best: np.ndarray, threshold: float) -> np.ndarray:
    """Which cells reach the threshold: scores (deltas, …, cells), best cells (deltas,). None where the best is not positive."""
    bars = np.stack([values[..., index] for values, index in zip(scores, best, strict=True)])[..., None]
    return (scores >= threshold / 100 * bars) & (bars > 0)


def _of_union(common: np.ndarray, union: np.ndarray) -> np.ndarray | np.floating:
    """In percent; 0 where the union is empty."""
    return 100 * common.sum(-1) / np.maximum(union.sum(-1), 1)


def _share(value: float | np.floating | np.ndarray, drawn: np.ndarray | np.floating) -> Share:
    low, high = np.percentile(drawn, [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
    return Share(float(value), float(low), float(high))


def largest_part(region: Bool[np.ndarray, ...]) -> Bool[np.ndarray, ...]:
    """The largest connected part of a region: of cells that share a side; the first one where several are."""
    parts, count = ndimage.label(region)
    if count == 0:
        return np.zeros(region.shape, dtype=bool)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
