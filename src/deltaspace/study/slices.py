"""Which slices of a subspace a recipe asks for, and how each is laid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Grid, Sampling, Slice
from deltaspace.landscape.slice import fitting
from deltaspace.names import NAME_LIMIT, check_name, plain_name
from deltaspace.seeds import derived_seed
from deltaspace.storage import digest

if TYPE_CHECKING:
    from deltaspace.subspace import Subspace


# Points that are no delta's vector and no source task's code.
POINTS = ("mean", "zero")
_NAMED_DIRECTION = re.compile("(principal|random)-[1-9][0-9]{0,199}")
# Of a digest in a name.
_DIGITS = 6


class SliceSpec(Sampling):
    """A slice of a study's subspace, as a recipe's list `landscapes` or `deltaspace landscape` asks for it."""

    task: str = Field(description="whose examples are scored")
    points: tuple[str, ...] = Field(
        default=(),
        description="two (a line) or three (a plane): a delta (the task's vector found through it), TASK:DELTA, a source task "
        "(its code), mean (of these codes) or zero; by default the first three deltas, or two where there are two",
    )
    point: str | None = Field(default=None, description="the middle of a slice along directions, named as points are")
    directions: tuple[str | tuple[float, ...], ...] = Field(
        default=(), description="one or two: principal-1, principal-2 … of the source tasks' codes, random-1 …, or d numbers"
    )
    grid: str | None = Field(default=None, description="min:max:n for every axis, or one for each with a comma between")
    dim: int | None = Field(default=None, ge=1, description="which d; the recipe's first by default")
    seed: int | None = Field(default=None, description="which seed; the recipe's first by default")
    name: str | None = Field(
        default=None, description="of its file and its figures; made from the task and the points by default"
    )

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return value if value is None else check_name("a landscape", value)

    @field_validator("grid")
    @classmethod
    def _grid(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Grid.parse(value)
            except DeltaspaceError as error:
                raise ValueError(" ".join(str(error).split())) from None
        return value

    @field_validator("directions")
    @classmethod
    def _directions(cls, value: tuple[str | tuple[float, ...], ...]) -> tuple[str | tuple[float, ...], ...]:
        for asked in value:
            if isinstance(asked, str) and _NAMED_DIRECTION.fullmatch(asked) is None:
                raise ValueError(f"no direction {asked!r}; there are principal-1, principal-2 …, random-1 …, or d numbers")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> SliceSpec:
        if self.points and (self.point is not None or self.directions):
            raise ValueError("a slice goes through 'points', or from a 'point' along 'directions'; not both")
        if (self.point is None) != (not self.directions):
            raise ValueError("a slice along 'directions' needs a 'point', and a 'point' needs 'directions'")
        if self.points and len(self.points) not in (2, 3):
            raise ValueError("two points make a line, three a plane")
        if len(self.directions) > 2:
            raise ValueError("one direction makes a line, two a plane")
        for kind, named in (("point", self.points), ("direction", self.directions)):
            if len(set(named)) < len(named):
                raise ValueError(f"a {kind} stands twice: {', '.join(map(str, named))}")
        return self

    def sampling(self) -> Sampling:
        """How its cells are scored."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    def settled(self, deltas: Sequence[str], dims: Sequence[int], seeds: Sequence[int]) -> SettledSlice:
        """The slice with everything decided that was left to the recipe.

        Args:
            deltas: the recipe's.
            dims: the recipe's d.
            seeds: the recipe's.

        Raises:
            DeltaspaceError: there is only one delta to lay a slice through, no such d or seed, or no slice along the directions.
        """
        points = self.points or (() if self.directions else tuple(deltas[:3]))
        if not self.directions and len(points) < 2:
            raise DeltaspaceError("one delta's vector makes no slice", mend="name points, or a point and directions")
        dim, seed = self.dim or dims[0], seeds[0] if self.seed is None else self.seed
        for what, chosen, known in (("d", dim, dims), ("seed", seed, seeds)):
            if chosen not in known:
                raise DeltaspaceError(f"the recipe has no {what} = {chosen}", expected=", ".join(map(str, known)))
        if dim < (len(self.directions) or len(points) - 1):
            raise DeltaspaceError("a plane needs two dimensions", found=f"d = {dim}", mend="name two points, or one direction")
        if self.grid is not None:
            fitting(Grid.parse(self.grid), len(self.directions) or len(points) - 1)  # raises where they do not
        given = {
            f"direction {number}": _numbers(asked, dim)
            for number, asked in enumerate(self.directions, start=1)
            if not isinstance(asked, str)
        }
        if given:
            Slice.along("the point", torch.zeros(dim), given)  # raises where they make none
        return SettledSlice(self, points, dim, seed, self.name or self._name(points, dim, seed))

    def _name(self, points: Sequence[str], dim: int, seed: int) -> str:
        """What it is called by default; a digest tells directions that are numbers apart, and names that are too long."""
        drawn = [text if isinstance(text, str) else f"given-{digest(text)[:_DIGITS]}" for text in self.directions]
        parts = [self.task, *([self.point] if self.point else []), *points, *drawn, str(dim), str(seed)]
        name = "-".join(parts)
        return plain_name(name if len(name) <= NAME_LIMIT else f"{name[: NAME_LIMIT - _DIGITS - 1]}-{digest(parts)[:_DIGITS]}")


@dataclass(frozen=True)
class SettledSlice:
    """A slice of one study, with nothing left open.

    Args:
        spec: what was asked for.
        points: the points that it goes through; none where it has directions.
        dim: d.
        seed: the study's.
        name: of its landscape.
    """

    spec: SliceSpec
    points: tuple[str, ...]
    dim: int
    seed: int
    name: str

    @property
    def named(self) -> tuple[str, ...]:
        """All points that it names."""
        return self.points or ((self.spec.point,) if self.spec.point else ())

    def shared_codes(self, sources: Sequence[str]) -> list[str]:
        """What it names that is made of codes of source tasks, as all deltas share them."""
        drawn = [asked for asked in self.spec.directions if isinstance(asked, str) and asked.startswith("principal")]
        return [*(point for point in self.named if point in (*sources, "mean")), *drawn]

    def described(self) -> dict[str, Any]:
        """Everything that it says, JSON-able."""
        settled = {"points": list(self.points), "dim": self.dim, "seed": self.seed, "name": self.name}
        return {**self.spec.model_dump(mode="json"), **settled}


def vector_of(
    point: str, task: str, deltas: Sequence[str], sources: Sequence[str], tasks: Sequence[str]
) -> tuple[str, str] | None:
    """Which task's vector through which delta a point's name means; None for a code of source tasks, their mean, or zero.

    Raises:
        DeltaspaceError: it names nothing.
    """
    if point in deltas:
        return task, point
    if point in (*sources, *POINTS):
        return None
    other, _, delta = point.rpartition(":")
    if other in tasks and delta in deltas:
        return other, delta
    raise DeltaspaceError(
        f"no point {point!r}",
        expected=f"a delta ({', '.join(deltas)}), TASK:DELTA, a source task ({', '.join(sources)}), mean or zero",
    )


def make_slice(chosen: SettledSlice, subspace: Subspace, vectors: Mapping[tuple[str, str], Float[Tensor, " dim"]]) -> Slice:
    """The slice that is asked for.

    Args:
        chosen: what is asked for.
        subspace: what it goes through.
        vectors: (task, delta) -> vector, those that it needs.

    Raises:
        DeltaspaceError: points on one line, a principal direction that the codes do not have, or
            codes of source tasks in a subspace whose deltas share none.
    """
    spec, deltas, sources = chosen.spec, list(subspace.entries), list(subspace.sources)

    def vector(point: str) -> Tensor:
        name = vector_of(point, spec.task, deltas, sources, [task for task, _ in vectors])
        if name is not None:
            return vectors[name]
        if point == "zero":
            return torch.zeros(subspace.dim)
        codes = subspace.shared_codes()
        return codes[sources.index(point)] if point in sources else codes.mean(0)

    grids = None if spec.grid is None else Grid.parse(spec.grid)
    if chosen.points:
        return Slice.through({point: vector(point) for point in chosen.points}, grids)
    directions = dict(_direction(asked, subspace, number) for number, asked in enumerate(spec.directions, start=1))
    assert spec.point is not None
    return Slice.along(spec.point, vector(spec.point), directions, grids)


def _numbers(asked: tuple[float, ...], dim: int) -> Float[Tensor, " dim"]:
    """A direction that is given as numbers, (d,)."""
    if len(asked) != dim:
        raise DeltaspaceError("a direction has d numbers", found=len(asked), expected=dim)
    return torch.tensor(asked)


def principal_number(direction: str) -> int:
    """Of a direction principal-1, principal-2 …; 0 of others."""
    kind, _, number = direction.partition("-")
    return int(number) if kind == "principal" else 0


def _direction(asked: str | tuple[float, ...], subspace: Subspace, number: int) -> tuple[str, Tensor]:
    """The name and the direction, (d,), of the slice's axis of this number."""
    if not isinstance(asked, str):
        return f"direction {number}", _numbers(asked, subspace.dim)
    kind, _, which = asked.partition("-")
    if kind == "random":
        generator = torch.Generator().manual_seed(derived_seed(subspace.seed, "direction", which))
        return asked, torch.randn(subspace.dim, generator=generator)
    codes = subspace.shared_codes()
    _, lengths, rows = torch.linalg.svd((codes - codes.mean(0)).double().cpu(), full_matrices=False)
    count = int((lengths > 1e-6 * lengths.max().clamp_min(1e-12)).sum()) if len(codes) > 1 else 0
    if int(which) > count:
        raise DeltaspaceError(
            f"there is no {asked}", found=f"{count} principal directions of {len(codes)} source tasks", mend="take random ones"
        )
    return asked, rows[int(which) - 1].float()
