"""The points of a parameter sweep: what its file may say, and the recipe of each point."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, field_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import plainly, shown
from deltaspace.names import plain_name
from deltaspace.settings import Settings
from deltaspace.storage import digest
from deltaspace.study.numbers import Counts, Dims, Seeds
from deltaspace.study.recipe import Recipe, known_projection

# Each is a study; what a person can wait for is far below.
_MOST_POINTS = 10_000
# Of what a point's name says of its projection; a digest tells longer ones apart.
_LONG = 50
_EACH = "each"
# The study whose solutions all points share, and its last stage.
SHARED = "independent"
SHARED_UNTIL = "independent"
# Projection (as JSON), how many source tasks and deltas, the task left out, d.
_Point = tuple[str, int, int, str, int]


class Grid(Settings):
    """Every combination of these; what is left out is as in the recipe."""

    projection: tuple[dict[str, Any], ...] = Field(default=(), description="projection methods, with their settings")
    dim: Dims = Field(default=(), description="d")
    source_tasks: Counts = Field(default=(), description="so many of the recipe's source tasks, from the first on")
    deltas: Counts = Field(default=(), description="so many of the recipe's deltas, from the first on")
    leave_out: tuple[str, ...] = Field(
        default=(), description="source tasks, each left out in turn and tuned as the unseen task instead; 'each' for all of them"
    )
    seed: Seeds = Field(default=(), description="seeds")

    @field_validator("leave_out", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("projection", mode="before")
    @classmethod
    def _known_projections(cls, value: Any) -> Any:
        known = [known_projection(entry) for entry in (value if isinstance(value, list | tuple) else [value])]
        for index, projection in enumerate(known):
            if projection in known[:index]:
                raise ValueError(f"{next(iter(projection))} stands twice with the same settings")
        return known


class Sweep(Settings):
    """What a sweep file says."""

    recipe: str = Field(description="the recipe; relative to the sweep's folder")
    grids: tuple[Grid, ...] = Field(min_length=1, description="the points are those of all grids")

    @field_validator("grids", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        if not isinstance(value, dict | list | tuple):
            raise ValueError(f"should be a mapping or a list (found {shown(value)})")
        return [value] if isinstance(value, dict) else value


class Listed(Settings):
    """What a sweep's file says of a point.

    Args:
        name: of its folder.
        projection: the projection method, with the settings that are not its defaults.
        source_tasks: how many.
        deltas: how many.
        left_out: the source task that is unseen here, or "".
        dim: d.
    """

    name: str
    projection: str
    source_tasks: int
    deltas: int
    left_out: str
    dim: int


class Point(Listed):
    """A study of a sweep.

    Args:
        recipe: what it computes.
    """

    recipe: Recipe

    @property
    def listed(self) -> dict[str, Any]:
        """What the sweep's file says of it."""
        return {name: getattr(self, name) for name in Listed.model_fields}


def points(sweep: Sweep, recipe: Recipe) -> list[Point]:
    """The points of all grids, each once, with all seeds asked for there.

    Raises:
        DeltaspaceError: a grid asks for more than the recipe has.
    """
    if (count := sum(math.prod(len(axis) or 1 for _, axis in grid) for grid in sweep.grids)) > _MOST_POINTS:
        raise DeltaspaceError("the sweep has too many points", found=f"{count:,}", expected=f"at most {_MOST_POINTS:,}")
    seeds: dict[_Point, list[int]] = {}
    for grid in sweep.grids:
        for key, seed in _combinations(grid, recipe):
            if seed not in seeds.setdefault(key, []):
                seeds[key].append(seed)
    return [_point(recipe, *key, tuple(listed)) for key, listed in seeds.items()]


def studies_of(listed: Sequence[Point], recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of every study of a sweep by the name of its folder: the shared one's, then those of the points.

    Args:
        listed: the points.
        recipe: what is common to them.
    """
    seeds = tuple(dict.fromkeys(seed for point in listed for seed in point.recipe.seed))
    shared = recipe.model_copy(update={"seed": seeds, "rivals": ()})
    return {SHARED: shared, **{point.name: point.recipe for point in listed}}


def last_stage(study: str) -> str | None:
    """Up to which stage a study of a sweep is run; None is all of them."""
    return SHARED_UNTIL if study == SHARED else None


def _combinations(grid: Grid, recipe: Recipe) -> Iterator[tuple[_Point, int]]:
    tasks, deltas = len(recipe.tasks.source), len(recipe.deltas)
    for key, asked, limit in (("source_tasks", grid.source_tasks, tasks), ("deltas", grid.deltas, deltas)):
        if wrong := [count for count in asked if not 1 <= count <= limit]:
            raise DeltaspaceError(f"the sweep cannot take {key}: {wrong[0]}", expected=f"1 to {limit}, what the recipe has")
    # As text, since settings cannot be keys.
    projections = [json.dumps(projection) for projection in grid.projection or [recipe.projection]]
    for projection, task_count, delta_count, left_out, dim, seed in itertools.product(
        projections,
        grid.source_tasks or [tasks],
        grid.deltas or [deltas],
        _left_out(grid, recipe),
        grid.dim or recipe.dim,
        grid.seed or recipe.seed,
    ):
        yield (projection, task_count, delta_count, left_out, dim), seed


def _left_out(grid: Grid, recipe: Recipe) -> list[str]:
    """Which source tasks are left out, one at a point; "" for none."""
    if not grid.leave_out:
        return [""]
    names = recipe.source_tasks if grid.leave_out == (_EACH,) else list(grid.leave_out)
    if unknown := [name for name in names if name not in recipe.source_tasks]:
        raise DeltaspaceError(
            f"the sweep cannot leave out {unknown[0]!r}", expected=f"{_EACH}, or of {', '.join(recipe.source_tasks)}"
        )
    if grid.source_tasks or len(recipe.source_tasks) < 2:
        found = f"source_tasks: {list(grid.source_tasks)}" if grid.source_tasks else f"only {recipe.source_tasks[0]}"
        raise DeltaspaceError("leave_out needs two source tasks or more, and all of them", found=found)
    return names


def _point(recipe: Recipe, projection: str, tasks: int, deltas: int, left_out: str, dim: int, seeds: tuple[int, ...]) -> Point:
    written = recipe.model_dump(by_alias=True)
    written["tasks"]["source"] = written["tasks"]["source"][:tasks]
    if left_out:
        index, listed = recipe.source_tasks.index(left_out), written["tasks"]["source"]
        written["tasks"] |= {"source": [*listed[:index], *listed[index + 1 :]], "unseen": [listed[index]]}
    written["deltas"] = dict(list(written["deltas"].items())[:deltas])
    at = {"projection": json.loads(projection), "source_tasks": tasks, "deltas": deltas, "dim": dim, "seed": list(seeds)}
    at_point = _recipe(
        # Rivals do not depend on any of these but d, landscapes show one space: both belong to a run, not to a sweep.
        {**written, "projection": at["projection"], "dim": dim, "seed": seeds, "rivals": (), "landscapes": ()},
        at | ({"left_out": left_out} if left_out else {}),
    )
    label = _label(at_point)
    projected = _short(label)
    without = f"-without-{_short(left_out)}" if left_out else ""
    name = f"{projected}-{tasks - bool(left_out)}-tasks-{deltas}-deltas-{dim}{without}"
    return Point(
        name=name,
        projection=label,
        source_tasks=tasks - bool(left_out),
        deltas=deltas,
        left_out=left_out,
        dim=dim,
        recipe=at_point,
    )


def _short(text: str) -> str:
    """Part of a folder's name."""
    name = plain_name(text)
    return name if len(name) <= _LONG else f"{name[:_LONG]}-{digest(text)[:8]}"


def _recipe(written: dict[str, Any], at: Mapping[str, Any]) -> Recipe:
    """The recipe of a point, which is told by `at` where there can be no such recipe."""
    try:
        return Recipe.model_validate(written)
    except ValidationError as error:
        point = ", ".join(f"{key}: {json.dumps(value)}" for key, value in at.items())
        raise DeltaspaceError(
            f"the sweep asks for a point that cannot be: {point}",
            found=plainly(error),
            mend="take that value out of the grid, or correct the recipe",
        ) from None


def _label(recipe: Recipe) -> str:
    """The projection method, with the settings that are not its defaults."""
    method = recipe.projection_method()
    changed = method.model_dump(exclude_defaults=True)
    return " ".join([method.name, *(f"{key}={value}" for key, value in changed.items())])
