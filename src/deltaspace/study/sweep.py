"""A sweep: one recipe at many points (d, source tasks, deltas, projection, seeds), each a study; the solutions are shared."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import write_text
from deltaspace.study.folder import Folder, Row, rows
from deltaspace.study.recipe import Recipe, known_projection, load_recipe, load_yaml
from deltaspace.study.run import Report, run

_POINTS = "sweep.yaml"
# The study whose solutions all points share.
_SHARED = "independent"


class Grid(BaseModel):
    """Every combination of these; what is left out is as in the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    projection: tuple[dict[str, Any], ...] = Field((), description="kinds of projections, with their settings")
    dim: tuple[int, ...] = Field((), description="d")
    source_tasks: tuple[int, ...] = Field((), description="so many of the recipe's source tasks, from the first on")
    deltas: tuple[int, ...] = Field((), description="so many of the recipe's deltas, from the first on")
    seed: tuple[int, ...] = Field((), description="seeds")

    @field_validator("projection", mode="before")
    @classmethod
    def _known_projections(cls, value: Any) -> Any:
        return [known_projection(one) for one in (value if isinstance(value, list | tuple) else [value])]

    @field_validator("dim")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value, default=1) < 1:
            raise ValueError("d is at least 1")
        return value


class Sweep(BaseModel):
    """What a sweep file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str = Field(description="the recipe; relative to the sweep's own folder")
    grids: tuple[Grid, ...] = Field(min_length=1, description="the points are those of all grids")

    @field_validator("grids", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


@dataclass(frozen=True)
class Point:
    """A study of a sweep.

    Args:
        name: of its folder.
        place: projection, source_tasks, deltas and dim, as tables show them.
        recipe: what it computes.
    """

    name: str
    place: dict[str, Any]
    recipe: Recipe


def points(sweep: Sweep, recipe: Recipe) -> list[Point]:
    """The points of all grids, each once, with all seeds asked for there.

    Raises:
        DeltaspaceError: a grid asks for more than the recipe has.
    """
    seeds: dict[tuple[str, int, int, int], list[int]] = {}
    for grid in sweep.grids:
        for key, seed in _combinations(grid, recipe):
            if seed not in seeds.setdefault(key, []):
                seeds[key].append(seed)
    return [_point(recipe, *key, tuple(own)) for key, own in seeds.items()]


def _combinations(grid: Grid, recipe: Recipe) -> Iterator[tuple[tuple[str, int, int, int], int]]:
    tasks, deltas = len(recipe.tasks.source), len(recipe.deltas)
    for key, found, most in (("source_tasks", grid.source_tasks, tasks), ("deltas", grid.deltas, deltas)):
        if wrong := [count for count in found if not 1 <= count <= most]:
            raise DeltaspaceError(f"the sweep cannot take {key}: {wrong[0]}", expected=f"1 to {most}, what the recipe has")
    # As text, since settings cannot be keys.
    projections = [json.dumps(projection) for projection in grid.projection or [recipe.projection]]
    for projection, count, kinds, dim, seed in itertools.product(
        projections or [own],
        grid.source_tasks or [tasks],
        grid.deltas or [deltas],
        grid.dim or recipe.dim,
        grid.seed or recipe.seed,
    ):
        yield (projection, count, kinds, dim), seed


def _point(recipe: Recipe, projection: str, tasks: int, deltas: int, dim: int, seeds: tuple[int, ...]) -> Point:
    written = recipe.model_dump(by_alias=True)
    written["tasks"]["source"] = written["tasks"]["source"][:tasks]
    written["deltas"] = dict(list(written["deltas"].items())[:deltas])
    own = Recipe.model_validate(
        # Rivals do not depend on any of these but d, landscapes show one space: both belong to a run, not to a sweep.
        {**written, "projection": json.loads(projection), "dim": dim, "seed": seeds, "rivals": (), "landscapes": ()}
    )
    kind = _label(own)
    name = f"{kind.replace(' ', '-').replace('=', '-')}-{tasks}-tasks-{deltas}-deltas-{dim}"
    return Point(name, {"projection": kind, "source_tasks": tasks, "deltas": deltas, "dim": dim}, own)


def _label(recipe: Recipe) -> str:
    """The kind of projections, with the settings that are not its defaults."""
    method = recipe.decomposition()
    changed = method.model_dump(exclude_defaults=True)
    return " ".join([method.name, *(f"{key}={value}" for key, value in changed.items())])


def load_sweep(path: Path) -> tuple[Sweep, Recipe, Path]:
    """Read a sweep file and its recipe.

    Returns:
        The sweep, the recipe, and the recipe's folder, which its task folders are relative to.

    Raises:
        DeltaspaceError: as `load_recipe`, of either file; or the sweep asks for more than the recipe has.
    """
    hint = "docs/sweeps.md shows every key"
    found = load_yaml(path, Sweep, "sweep", "the keys recipe and grids", hint)
    place = path.parent / found.recipe
    recipe = load_recipe(place)
    points(found, recipe)
    return found, recipe, place.parent


def run_sweep(sweep: Sweep, recipe: Recipe, out: Path, *, base: Path | None = None, report: Report | None = None) -> int:
    """Make everything of a sweep that is missing, stale or damaged: the solutions once, then each point.

    Args:
        sweep: the points.
        recipe: what is common to them.
        out: the sweep's folder.
        base: what relative task folders are relative to.
        report: told what goes on.

    Returns:
        The number of artefacts made.

    Raises:
        DeltaspaceError: as `run`.
    """
    report = report or Report()
    wanted = points(sweep, recipe)
    seeds = tuple(dict.fromkeys(seed for point in wanted for seed in point.recipe.seed))
    listed = [{"name": point.name, **point.place} for point in wanted]
    write_text(out / _POINTS, yaml.safe_dump(listed, sort_keys=False))
    report.study("independent solutions")
    shared = Folder(out / _SHARED)
    made = run(recipe.model_copy(update={"seed": seeds, "rivals": ()}), shared.path, base=base, until="train", report=report)
    for number, point in enumerate(wanted, start=1):
        report.study(f"point {number} of {len(wanted)}: " + ", ".join(f"{key} {value}" for key, value in point.place.items()))
        folder = Folder(out / point.name)
        with folder.locked():
            folder.take(shared, _of_stage_0(point.recipe))
        made += run(point.recipe, folder.path, base=base, report=report)
    return made


def _of_stage_0(recipe: Recipe) -> Iterator[str]:
    tasks = [spec.task_name for spec in (*recipe.tasks.source, *recipe.tasks.unseen)]
    for task, delta, seed in itertools.product(tasks, recipe.deltas, recipe.seed):
        yield f"solutions/{delta}/{task}-{seed}.safetensors"
        yield f"scores/zero_shot/{task}-{delta}-{seed}.json"


def is_sweep(folder: Path) -> bool:
    """Whether the folder is one of `run_sweep`."""
    return (folder / _POINTS).exists()


def sweep_rows(folder: Path) -> list[Row]:
    """Every optimization and transfer score of a sweep so far (see `rows`), with its point: projection, source_tasks, deltas."""
    found = []
    for listed in yaml.safe_load((folder / _POINTS).read_text(encoding="utf-8")):
        place = folder / listed.pop("name")
        if (place / "recipe.yaml").exists():
            found += [{**row, **listed} for row in rows(place) if row["stage"] in ("optimized", "transferred")]
    return found
