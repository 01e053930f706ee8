"""Landscapes as the report's script draws them: it is given masks, shares and shades, and works out none of them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaspace.figures._landscapes import inside_colors
from deltaspace.figures._style import looks, require_matplotlib
from deltaspace.figures.panels import shade_limits
from deltaspace.landscape import Landscape, Region, regions

if TYPE_CHECKING:
    from deltaspace.figures import Quantity

# The thresholds that the page's slider stops at, in percent.
THRESHOLDS = tuple(float(q) for q in range(80, 101))
_SHADES = 256
# A vector nearer than this to a slice is one that it was laid through.
_ON_SLICE = 1e-3


def shade_colors() -> list[str]:
    """The colors that a cell's shade is an index of, from the worst to the best: matplotlib's viridis.

    Raises:
        DeltaspaceError: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps["viridis"](np.arange(_SHADES))]


def landscape_data(name: str, landscape: Landscape) -> dict[str, Any]:
    """Everything that the page shows of a landscape.

    Raises:
        DeltaspaceError: the landscape is not finished.
    """
    count = len(landscape.deltas)
    delta_looks = looks(landscape.deltas)
    values: dict[Quantity, np.ndarray] = {"score": landscape.filled().reshape(count, -1)}
    values["loss"] = landscape.filled("loss").reshape(count, -1)
    done = landscape.done.reshape(count, -1)
    shades = {quantity: _shades(of_deltas, quantity) for quantity, of_deltas in values.items()}
    return {
        "name": name,
        "task": landscape.task,
        "metric": landscape.metric,
        "examples": f"{landscape.examples} {landscape.split} examples",
        "ticks": [list(ticks) for ticks in landscape.slice.ticks],
        "labels": list(landscape.slice.labels),
        "sampled": landscape.sampled,
        # What the axis of a line spans.
        "limits": {quantity: [float(v.min()), float(v.max())] for quantity, v in values.items()},
        # What the first and the last shade stand for.
        "shade_limits": {quantity: [float(limit) for limit in shade_limits(v, quantity)] for quantity, v in values.items()},
        # Where all deltas together are best.
        "best": int(values["score"].sum(0).argmax()),
        # The color of a cell by the number of deltas whose regions it is in.
        "inside_colors": inside_colors(count),
        "deltas": [
            {
                "name": delta,
                "color": delta_looks[delta].color,
                "score": values["score"][index].tolist(),
                "loss": [round(float(value), 4) for value in values["loss"][index]],
                "shades": {quantity: _base64(of_deltas[index]) for quantity, of_deltas in shades.items()},
                "filled": np.flatnonzero(~done[index]).tolist(),
                "trajectory": [[_rounded(x) for x in point] for point in landscape.trajectories.get(delta, [])],
                "mark": _mark(landscape, delta),
            }
            for index, delta in enumerate(landscape.deltas)
        ],
        "points": [
            {"name": point, "at": list(coordinates)}
            for point, coordinates in landscape.slice.marks.items()
            if point not in landscape.marks
        ],
        "regions": [_region(region) for region in regions(landscape, THRESHOLDS)],
    }


def _mark(landscape: Landscape, delta: str) -> dict[str, Any] | None:
    """Where the vector is that a delta found, and whether the slice goes through it."""
    if delta not in landscape.marks:
        return None
    mark = landscape.marks[delta]
    return {"at": list(mark.coordinates), "on_slice": mark.distance < _ON_SLICE}


def _region(region: Region) -> dict[str, Any]:
    return {
        "threshold": region.threshold,
        "inside": [_mask(inside) for inside in region.inside],
        "common": _mask(region.common),
        "shares": {key: [share.value, share.low, share.high] for key, share in region.shares.items()},
    }


def _mask(cells: np.ndarray) -> str:
    """One bit a cell, row by row; the first cell is the lowest bit of the first byte."""
    return _base64(np.packbits(cells.ravel(), bitorder="little"))


def _shades(values: np.ndarray, quantity: Quantity) -> np.ndarray:
    """One byte a cell: an index of `shade_colors`."""
    low, high = shade_limits(values, quantity)
    shares = np.clip((values - low) / (high - low or 1.0), 0.0, 1.0)
    return np.rint((_SHADES - 1) * (shares if quantity == "score" else 1 - shares)).astype(np.uint8)


def _rounded(value: float) -> float:
    """As exact as a picture needs it."""
    return float(f"{value:.5g}")


def _base64(data: np.ndarray) -> str:
    return base64.b64encode(data.tobytes()).decode()
