"""A parameter sweep: one recipe at many points (d, source tasks, deltas, projection, seeds), each a study.

The independent solutions are made once, in a study that all points share.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import plainly, shown
from deltaspace.names import check_name, plain_name
from deltaspace.settings import Settings
from deltaspace.storage import digest, path_of, what_is_at, write_text
from deltaspace.study.engines import ENGINES, Engine
from deltaspace.study.folder import RECIPE, SWEEP, Folder
from deltaspace.study.numbers import Counts, Dims, Seeds
from deltaspace.study.observer import Observer
from deltaspace.study.recipe import Recipe, known_projection, load_recipe
from deltaspace.study.results import read_scores
from deltaspace.study.run import keep_recipe, run_study
from deltaspace.study.scores import SweepRow
from deltaspace.study.stage import ordered_stages
from deltaspace.study.yaml_file import load_yaml
from deltaspace.study.yaml_text import NotYaml, read_yaml

# The study whose solutions all points share.
_SHARED = "independent"
# Each is a study; what a person can wait for is far below.
_MOST_POINTS = 10_000
# Of what a point's name says of its projection; a digest tells longer ones apart.
_LONG = 50
_LAST_SHARED = "independent"
_EACH = "each"
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
    at_point = _recipe(
        # Rivals do not depend on any of these but d, landscapes show one space: both belong to a run, not to a sweep.
        {**written, "projection": json.loads(projection), "dim": dim, "seed": seeds, "rivals": (), "landscapes": ()}
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


def _recipe(written: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(written)
    except ValidationError as error:
        raise DeltaspaceError("the sweep asks for a point that is none", found=plainly(error)) from None


def _label(recipe: Recipe) -> str:
    """The projection method, with the settings that are not its defaults."""
    method = recipe.projection_method()
    changed = method.model_dump(exclude_defaults=True)
    return " ".join([method.name, *(f"{key}={value}" for key, value in changed.items())])


def load_sweep(path: Path | str) -> tuple[Sweep, Recipe]:
    """Read a sweep file and its recipe.

    Raises:
        DeltaspaceError: as `load_recipe`, of either file; or the sweep asks for more than the recipe has.
    """
    path = Path(path)
    sweep = load_yaml(path, Sweep, "sweep", "the keys recipe and grids", "docs/sweeps.md shows every key")
    recipe = load_recipe(path.parent / path_of(sweep.recipe))
    points(sweep, recipe)
    return sweep, recipe


def run_sweep(
    sweep: Sweep, recipe: Recipe, out: Path | str, *, observer: Observer | None = None, engine: Engine | str = "serial"
) -> int:
    """Make everything of a sweep that is missing, stale or damaged: the solutions once, then each point.

    Args:
        sweep: the points.
        recipe: what is common to them.
        out: the sweep's folder.
        observer: told what goes on.
        engine: as in `run_study`; its processes are kept from point to point.

    Returns:
        The number of artefacts made.

    Raises:
        DeltaspaceError: as `run_study`.
    """
    out, observer = path_of(out), observer or Observer()
    with ENGINES.find(engine)() if isinstance(engine, str) else engine as kept:
        return _run_points(sweep, recipe, out, observer, kept)


def _run_points(sweep: Sweep, recipe: Recipe, out: Path, observer: Observer, engine: Engine) -> int:
    listed = points(sweep, recipe)
    seeds = tuple(dict.fromkeys(seed for point in listed for seed in point.recipe.seed))
    written = [point.listed for point in listed]
    _check_free(out)
    write_text(out / SWEEP, yaml.safe_dump(written, sort_keys=False))
    observer.study("independent solutions")
    shared = Folder(out / _SHARED)
    solutions = recipe.model_copy(update={"seed": seeds, "rivals": ()})
    made = run_study(solutions, shared.path, until=_LAST_SHARED, observer=observer, engine=engine)
    for number, point in enumerate(listed, start=1):
        coordinates = ", ".join(f"{key} {value}" for key, value in point.listed.items() if key != "name" and value != "")
        observer.study(f"point {number} of {len(listed)}: {coordinates}")
        folder = Folder(out / point.name)
        with folder.locked():
            keep_recipe(point.recipe, folder.path)
            folder.take(shared, _shared_paths(point.recipe))
        made += run_study(point.recipe, folder.path, observer=observer, engine=engine)
    return made


def _check_free(out: Path) -> None:
    """Raise DeltaspaceError unless the folder is a sweep's, or new: a sweep writes its file first, as a list."""
    present = what_is_at(out, follow=True)
    if present == "a folder":
        names = sorted(path.name for path in out.iterdir() if not path.name.endswith(".tmp"))
        begun = what_is_at(out / SWEEP) == "a file" and (out / SWEEP).read_bytes()[:1] == b"-"
        present = "" if begun or (SWEEP in names and _SHARED in names) else ", ".join(names[:8])
    if present:
        raise DeltaspaceError(
            f"{out} is not a sweep", found=f"{present} is there", expected="a sweep, or a new folder", mend="choose another --out"
        )


def _shared_paths(recipe: Recipe) -> Iterator[str]:
    for stage in ordered_stages(_LAST_SHARED):
        yield from map(stage.path, stage.keys(recipe))


def is_sweep(folder: Path | str) -> bool:
    """Whether the folder is one of `run_sweep`."""
    return (path_of(folder) / SWEEP).exists()


def read_sweep_scores(folder: Path | str) -> list[SweepRow]:
    """Every optimization and transfer score of a sweep so far, with its point.

    Raises:
        DeltaspaceError: the folder is no sweep, or a file of it is damaged (see `read_scores`).
    """
    folder, rows = Path(folder), []
    for listed in _listed(folder / SWEEP):
        study = folder / listed.name
        if (study / RECIPE).exists():
            point = (listed.projection, listed.source_tasks, listed.deltas, listed.left_out)
            rows += [SweepRow.at(row, *point) for row in read_scores(study) if row.stage in ("optimized", "transferred")]
    return rows


def _listed(path: Path) -> list[Listed]:
    """The points that the sweep's file lists."""
    if not path.exists():
        raise DeltaspaceError(f"{path.parent} is no sweep", found=f"no {path.name}", expected="a sweep's folder")
    try:
        _, said = read_yaml(path)
        if not isinstance(said, list):
            raise ValueError(f"no list but {shown(said)}")
        listed = [Listed.model_validate(point) for point in said]
        names = [check_name("a point", point.name) for point in listed]
        if len(set(names)) < len(names):
            raise ValueError("two points have one name")
        return listed
    except ValidationError as error:
        found = plainly(error)
    except (NotYaml, ValueError) as error:
        found = str(error)
    raise DeltaspaceError(
        f"{path} is damaged",
        found=found,
        expected="a list of points, each with name, projection, source_tasks, deltas, left_out, dim, of 'deltaspace sweep'",
        mend="run the sweep again",
    )
