"""Where tasks lie in the subspace, by their intrinsic vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._style import looks, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.subspace import Subspace

# More points than this have no names on the map: they would hide one another.
_NAMES = 40
# Points that principal axes can be laid through.
_POINTS = 3


@dataclass(frozen=True, eq=False)
class _Point:
    """A vector that was tuned, or the code of a source task.

    Args:
        task: whose.
        delta: through which it was found, or whose code it is; None for a code that all deltas share.
        tuned: whether it is a vector.
        vector: where it is in the subspace, (d,).
    """

    task: str
    delta: str | None
    tuned: bool
    vector: Float[Tensor, " dim"]


def map_figure(subspace: Subspace) -> Figure:
    """Tasks by their vectors, on the two principal axes of all: a filled sign for each vector, a ring for each source code.

    Where deltas share no codes, each source task has a ring in the color of each delta.

    Args:
        subspace: with the vectors of its tasks (`deltaspace.study.read_subspace`).

    Raises:
        DeltaspaceError: matplotlib is missing, or there are fewer than three points.
    """
    points = _points(subspace)
    if len(points) < _POINTS:
        raise DeltaspaceError(
            "nothing to draw: a map needs three points", found=f"{len(points)}", mend="run the recipe to the end"
        )
    coordinates, shares = _principal(torch.stack([point.vector for point in points]).double())
    figure = new_figure(6.5, 5.5)
    axes = figure.subplots()
    delta_looks = looks(list(dict.fromkeys(point.delta for point in points if point.delta is not None)))
    groups: dict[tuple[bool, str | None], list[int]] = {}
    for index, point in enumerate(points):
        groups.setdefault((point.tuned, point.delta), []).append(index)
    for (tuned, delta), indices in groups.items():
        x, y = coordinates[indices].T
        color = "0.3" if delta is None else delta_looks[delta].color
        if tuned and delta is not None:
            axes.plot(x, y, delta_looks[delta].marker, color=color, markersize=6, label=f"found through {delta}")
        else:
            label = "code of a source task" + ("" if delta is None else f", {delta}")
            axes.plot(x, y, "o", markerfacecolor="none", markeredgecolor=color, markersize=8, label=label)
    names: dict[tuple[float, float], list[str]] = {}
    for point, (horizontal, vertical) in zip(points, coordinates.tolist(), strict=True):
        # Vectors that never left their start lie on one another.
        names.setdefault((round(horizontal, 6), round(vertical, 6)), []).append(point.task)
    for at, tasks in names.items() if len(names) <= _NAMES else ():
        axes.annotate(", ".join(dict.fromkeys(tasks)), at, textcoords="offset points", xytext=(7, 5), fontsize=8)
    axes.set_xlabel(f"first principal axis ({shares[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal axis ({shares[1]:.0f} %)")
    axes.set_title(f"Tasks by their vectors, d = {subspace.dim}")
    plain(axes)
    axes.margins(0.15)
    axes.legend(loc="best", frameon=False)
    return figure


def _points(subspace: Subspace) -> list[_Point]:
    points = [_Point(task, delta, True, vector.cpu()) for (task, delta), vector in subspace.vectors.entries.items()]
    if not subspace.sources:
        return points
    if subspace.shared:
        codes: dict[str | None, Tensor] = {None: subspace.shared_codes()}
    else:
        codes = {delta: subspace.codes_of(delta) for delta in subspace.entries}
    return points + [
        _Point(task, delta, False, code.cpu())
        for delta, rows in codes.items()
        for task, code in zip(subspace.sources, rows, strict=True)
    ]


def _principal(vectors: Float[Tensor, "points dim"]) -> tuple[Float[Tensor, "points 2"], list[float]]:
    """Coordinates on the two principal axes, and the share of the variance along each, in percent; 0 where an axis is lacking."""
    away = vectors - vectors.mean(0)
    _, lengths, axes = torch.linalg.svd(away, full_matrices=False)
    along = away @ axes[:2].T
    coordinates = torch.zeros(len(vectors), 2, dtype=vectors.dtype)
    coordinates[:, : along.shape[1]] = along
    # Points that all lie on one another have no variance to share.
    shares = 100 * lengths**2 / (lengths**2).sum().clamp_min(1e-300)
    return coordinates, [*shares.tolist(), 0.0, 0.0][:2]


def _drawable(results: Results, options: Options) -> bool:
    return len(_points(results.subspace(options.dim))) >= _POINTS


FIGURES.register(
    Drawing(
        name="map",
        draw=lambda results, options: map_figure(results.subspace(options.dim)),
        drawable=_drawable,
        caption="Tasks by their intrinsic vectors, on the two principal axes of all of them.",
        order=40,
    )
)
