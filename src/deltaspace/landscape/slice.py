"""Slices of the subspace: a plane or a line through it, with the cells where it is sampled.

    I(x, y) = origin + x a + y b

On a plane a and b are orthonormal, so that x and y are lengths in the subspace. On a line, a leads from its first point (x = 0)
to its second (x = 1): "mode connectivity" is how scores change on the way (arXiv 1802.10026).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted

DEFAULT_CELLS = 25
# Of a slice; each is scored for every delta.
MOST_CELLS = 100_000
# Directions whose sine is below this are one line.
_LEAST_SINE = 1e-4


@dataclass(frozen=True)
class Grid:
    """Evenly spaced coordinates along one axis, both ends included.

    Args:
        low: the first.
        high: the last.
        count: how many.
    """

    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high and self.count >= 1):
            raise _no_grid(f"{self.low:g}:{self.high:g}:{self.count}")

    @classmethod
    def parse(cls, text: str) -> tuple[Grid, ...]:
        """Read `min:max:n`, for every axis, or one for each, `min:max:n,min:max:n`.

        Raises:
            DeltaspaceError: it is not of that form, min is not below max, or n is below 2.

        Example:
            >>> Grid.parse("0:1:3")[0].ticks
            (0.0, 0.5, 1.0)
        """
        grids = []
        for part in text.split(","):
            try:
                low, high, count = part.split(":")
                grids.append(cls(float(low), float(high), int(count)))
            except (ValueError, DeltaspaceError):
                raise _no_grid(text) from None
            if grids[-1].count < 2:
                raise _no_grid(text)
        if len(grids) > 2:
            raise _no_grid(text)
        return tuple(grids)

    @property
    def ticks(self) -> tuple[float, ...]:
        """The coordinates."""
        step = (self.high - self.low) / (self.count - 1)
        return (*(self.low + step * index for index in range(self.count - 1)), self.high)


def _no_grid(text: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"no grid {text!r}", expected="min:max:n with min < max and n ≥ 2, such as -2:2:25; or one for each axis, with a comma"
    )


@dataclass(frozen=True, eq=False)
class Slice:
    """A plane or a line through the subspace, and a grid on it.

    Args:
        origin: the point at 0, (d,).
        directions: one (a line) or two (a plane), (axes, d).
        grids: along each.
        labels: what the axes are called.
        marks: points that the slice was laid through, by name: their coordinates.
    """

    origin: Float[Tensor, " dim"]
    directions: Float[Tensor, "axes dim"]
    grids: tuple[Grid, ...]
    labels: tuple[str, ...]
    marks: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def through(cls, points: Mapping[str, Float[Tensor, " dim"]], grids: Sequence[Grid] | None = None) -> Slice:
        """The line through two points, or the plane through three.

        Args:
            points: by name.
            grids: for every axis one, or one for all; by default 25 coordinates, on a line from 0 to 1, on a plane in a square
                window around the points with a margin of half the larger of their spread and of their distance from 0.

        Raises:
            DeltaspaceError: there are not two or three points, two are one, three lie on one line, or one is not finite.
        """
        names, stacked = list(points), [_finite(name, point) for name, point in points.items()]
        if len(names) not in (2, 3):
            raise DeltaspaceError("a slice needs two points (a line) or three (a plane)", found=", ".join(names) or "none")
        if len({point.shape for point in stacked}) > 1:
            sizes = ", ".join(f"{name}: {counted(len(point), 'number')}" for name, point in points.items())
            raise DeltaspaceError("the points of a slice are of different spaces", found=sizes, expected="d numbers each")
        for (first, start), (second, end) in itertools.combinations(zip(names, stacked, strict=True), 2):
            if float((start - end).norm()) == 0:
                raise DeltaspaceError(
                    f"{first} and {second} are one point",
                    found="vectors that never left their start, or the same one twice",
                    mend="name another: mean, zero, a source task, TASK:DELTA",
                )
        if len(names) == 2:
            return cls(
                stacked[0],
                (stacked[1] - stacked[0]).unsqueeze(0),
                fitting(grids or [Grid(0.0, 1.0, DEFAULT_CELLS)], 1),
                (f"share of the way from {names[0]} to {names[1]}",),
                {names[0]: (0.0,), names[1]: (1.0,)},
            )
        origin = torch.stack(stacked).mean(0)
        directions = _orthonormal([stacked[1] - stacked[0], stacked[2] - stacked[0]], ", ".join(names))
        coordinates = (torch.stack(stacked) - origin) @ directions.T
        reach = float(coordinates.norm(dim=1).max())
        # Half the spread beyond the farthest point; where the points are near one another, half their distance from the origin.
        margin = 0.5 * max(reach, float(origin.norm()))
        labels = ("along the plane, horizontal", "along the plane, vertical")
        window = _window(reach + margin)
        marks = {name: tuple(point.tolist()) for name, point in zip(names, coordinates, strict=True)}
        return cls(origin, directions, fitting(grids or [window], 2), labels, marks)

    @classmethod
    def along(
        cls,
        name: str,
        point: Float[Tensor, " dim"],
        directions: Mapping[str, Float[Tensor, " dim"]],
        grids: Sequence[Grid] | None = None,
    ) -> Slice:
        """The line or the plane through a point along one direction or two; coordinates are lengths in the subspace.

        Args:
            name: of the point.
            point: (d,).
            directions: by name; made orthonormal in their order.
            grids: as `through`; by default as far as the point is from 0, both ways (1 where it is 0).

        Raises:
            DeltaspaceError: there are not one or two directions, one is zero or not finite, or two are one line.
        """
        if len(directions) not in (1, 2):
            raise DeltaspaceError("a slice has one direction or two", found=", ".join(directions) or "none")
        middle = _finite(name, point)
        ways = {called: _finite(called, direction) for called, direction in directions.items()}
        for called, way in ways.items():
            if not way.any():
                raise DeltaspaceError(f"{called} is no direction", found="zero", expected="d numbers that are not all 0")
        stacked = _orthonormal(list(ways.values()), ", ".join(directions))
        window = _window(float(middle.norm()) or 1.0)
        return cls(
            middle, stacked, fitting(grids or [window], len(directions)), tuple(directions), {name: (0.0,) * len(directions)}
        )

    @property
    def dim(self) -> int:
        """d."""
        return len(self.origin)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis; on a plane (vertical, horizontal), as pictures are."""
        return tuple(grid.count for grid in reversed(self.grids))

    @property
    def ticks(self) -> tuple[tuple[float, ...], ...]:
        """Coordinates along each axis: x first."""
        return tuple(grid.ticks for grid in self.grids)

    def coordinates(self) -> Float[Tensor, "cells axes"]:
        """Of every cell, row by row of `shape`: x first."""
        axes = [torch.tensor(ticks, dtype=torch.float32) for ticks in reversed(self.ticks)]
        return torch.stack([part.flatten() for part in torch.meshgrid(*axes, indexing="ij")], 1).flip(1)

    def points(self) -> Float[Tensor, "cells dim"]:
        """The intrinsic vector of every cell."""
        return self.origin + self.coordinates() @ self.directions

    def project(self, vectors: Float[Tensor, "rows dim"]) -> tuple[Float[Tensor, "rows axes"], Float[Tensor, " rows"]]:
        """Coordinates of the points of the slice nearest to some vectors, and how far those are from the slice."""
        away = vectors.float().cpu() - self.origin
        coordinates = away @ torch.linalg.pinv(self.directions)
        return coordinates, (away - coordinates @ self.directions).norm(dim=1)


def _finite(name: str, vector: Float[Tensor, " dim"]) -> Float[Tensor, " dim"]:
    """A point or a direction as a slice keeps it."""
    plain = vector.detach().float().cpu()
    if not plain.isfinite().all():
        raise DeltaspaceError(f"{name} is not finite", found=f"{counted(int((~plain.isfinite()).sum()), 'number')} inf or nan")
    return plain


def fitting(given: Sequence[Grid], axes: int) -> tuple[Grid, ...]:
    """One grid for each axis.

    Raises:
        DeltaspaceError: there is neither one for each nor one for all, or there are too many cells.
    """
    if len(given) not in (1, axes):
        raise DeltaspaceError("the grid does not fit the slice", found=counted(len(given), "grid"), expected=f"1 or {axes}")
    grids = tuple(given) if len(given) == axes else tuple(given) * axes
    if (cells := math.prod(grid.count for grid in grids)) > MOST_CELLS:
        raise DeltaspaceError("the grid has too many cells", found=f"{cells:,}", expected=f"at most {MOST_CELLS:,} in all")
    return grids


def _window(reach: float) -> Grid:
    # Two digits: axes that people can read, and ticks that do not depend on the last bits of a vector.
    digits = 1 - math.floor(math.log10(reach))
    reach = math.ceil(reach * 10**digits) / 10**digits
    return Grid(-reach, reach, DEFAULT_CELLS)


def _orthonormal(directions: Sequence[Tensor], names: str) -> Float[Tensor, "axes dim"]:
    axes: list[Tensor] = []
    for direction in directions:
        rest = direction.double()
        length = float(rest.norm())
        for axis in axes:
            rest = rest - (rest @ axis) * axis
        if length == 0 or float(rest.norm()) < _LEAST_SINE * length:
            raise DeltaspaceError(
                f"{names} make no plane",
                found="points or directions on one line, such as vectors that never left their start",
                mend="name others: mean, zero, a source task, TASK:DELTA, or a point and directions",
            )
        axes.append(rest / rest.norm())
    return torch.stack(axes).float()
