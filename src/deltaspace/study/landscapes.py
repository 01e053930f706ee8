"""The landscapes of a study: which slices a recipe asks for, how each is laid, and what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deltaspace.seeds import derived_seed
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_tensors
from deltaspace.landscape import Grid, Landscape, Precision, Slice
from deltaspace.study.folder import read_any

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deltaspace.subspace import Subspace

FOLDER = "landscapes"


class SliceSpec(BaseModel):
    """A slice of a study's subspace, as a recipe's list `landscapes` or `deltaspace landscape` asks for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(description="whose examples are scored")
    points: tuple[str, ...] = Field(
        (),
        description="two (a path) or three (a plane): a delta (the task's vector found through it), TASK:DELTA, a source task "
        "(its code), mean (of these codes) or zero; by default the first three deltas, or two where there are two",
    )
    point: str | None = Field(None, description="the middle of a slice along directions, named as points are")
    directions: tuple[str | tuple[float, ...], ...] = Field(
        (), description="one or two: principal-1, principal-2 … of the source tasks' codes, random-1 …, or d numbers"
    )
    grid: str | None = Field(None, description="min:max:n for every axis, or one for each with a comma between")
    split: Literal["test", "dev"] = Field("test", description="which examples")
    examples: int = Field(200, ge=1, description="so many of them, from the first on")
    tolerance: float = Field(
        0.0, ge=0, description="cells between coarser cells whose scores differ by at most this are filled in; 0 samples all"
    )
    precision: Precision = Field("auto", description="of products: fp32, bf16, or bf16 where the machine has it")
    dim: int | None = Field(None, ge=1, description="which d; the recipe's first by default")
    seed: int | None = Field(None, description="which seed; the recipe's first by default")
    name: str | None = Field(None, description="of its file and its figures; made from the task and the points by default")

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value) is None:
            raise ValueError(f"{value!r} cannot be a landscape's name: letters, digits, and _ . - inside")
        return value

    @field_validator("grid")
    @classmethod
    def _grid(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Grid.parse(value)
            except DeltaspaceError as error:
                raise ValueError(" ".join(str(error).split())) from None
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> SliceSpec:
        if self.points and (self.point is not None or self.directions):
            raise ValueError("a slice goes through 'points', or from a 'point' along 'directions'; not both")
        if (self.point is None) != (not self.directions):
            raise ValueError("a slice along 'directions' needs a 'point', and a 'point' needs 'directions'")
        if self.points and len(self.points) not in (2, 3):
            raise ValueError("two points make a path, three a plane")
        if len(self.directions) > 2:
            raise ValueError("one direction makes a path, two a plane")
        return self

    def settled(self, deltas: Sequence[str], dims: Sequence[int], seeds: Sequence[int]) -> SliceSpec:
        """The spec with everything decided that it left to the recipe.

        Raises:
            DeltaspaceError: there is only one delta to lay a slice through, or no such d or seed.
        """
        points = self.points or (() if self.directions else tuple(deltas[:3]))
        if not self.directions and len(points) < 2:
            raise DeltaspaceError("one delta's vector makes no slice", mend="name points, or a point and directions")
        dim, seed = self.dim or dims[0], seeds[0] if self.seed is None else self.seed
        for what, own, known in (("d", dim, dims), ("seed", seed, seeds)):
            if own not in known:
                raise DeltaspaceError(f"the recipe has no {what} = {own}", expected=", ".join(map(str, known)))
        name = self.name
        if name is None:
            drawn = [text if isinstance(text, str) else "given" for text in self.directions]
            parts = [self.task, *([self.point] if self.point else []), *points, *drawn, str(dim), str(seed)]
            name = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts))
        return self.model_copy(update={"points": points, "dim": dim, "seed": seed, "name": name})

    @property
    def named(self) -> tuple[str, ...]:
        """All points that it names."""
        return self.points or ((self.point,) if self.point else ())

    @property
    def path(self) -> str:
        """Where its landscape is in a study's folder."""
        return f"{FOLDER}/{self.name}.safetensors"


def vector_of(
    point: str, task: str, deltas: Sequence[str], sources: Sequence[str], tasks: Sequence[str]
) -> tuple[str, str] | None:
    """Which task's vector through which delta a point's name means; None for a code of source tasks, their mean, or zero.

    Raises:
        DeltaspaceError: it names nothing.
    """
    if point in deltas:
        return task, point
    if point in (*sources, "mean", "zero"):
        return None
    own, _, delta = point.rpartition(":")
    if own in tasks and delta in deltas:
        return own, delta
    raise DeltaspaceError(
        f"no point {point!r}",
        expected=f"a delta ({', '.join(deltas)}), TASK:DELTA, a source task ({', '.join(sources)}), mean or zero",
    )


def make_slice(spec: SliceSpec, subspace: Subspace, vectors: Mapping[tuple[str, str], Float[Tensor, " dim"]]) -> Slice:
    """The slice that a settled spec asks for.

    Args:
        spec: what is asked for.
        subspace: what it goes through.
        vectors: (task, delta) -> vector, those that it needs.

    Raises:
        DeltaspaceError: points on one line, a principal direction that the codes do not have, or d numbers that are not d.
    """
    deltas, sources = list(subspace.projections), list(subspace.sources)
    codes = subspace.codes.mean(0)

    def found(point: str) -> Tensor:
        key = vector_of(point, spec.task, deltas, sources, [task for task, _ in vectors])
        if key is not None:
            return vectors[key]
        if point == "zero":
            return torch.zeros(subspace.dim)
        return codes[sources.index(point)] if point in sources else codes.mean(0)

    grids = None if spec.grid is None else Grid.parse(spec.grid)
    if spec.points:
        return Slice.through({point: found(point) for point in spec.points}, grids)
    directions = dict(_direction(one, subspace, codes, place) for place, one in enumerate(spec.directions, start=1))
    assert spec.point is not None
    return Slice.along(spec.point, found(spec.point), directions, grids)


def _direction(asked: str | tuple[float, ...], subspace: Subspace, codes: Tensor, place: int) -> tuple[str, Tensor]:
    if not isinstance(asked, str):
        if len(asked) != subspace.dim:
            raise DeltaspaceError("a direction has d numbers", found=len(asked), expected=subspace.dim)
        return f"direction {place}", torch.tensor(asked)
    kind, _, number = asked.partition("-")
    if kind not in ("principal", "random") or not number.isdecimal() or int(number) < 1:
        raise DeltaspaceError(f"no direction {asked!r}", expected="principal-1, principal-2 …, random-1 …, or d numbers")
    if kind == "random":
        generator = torch.Generator().manual_seed(derived_seed(subspace.seed, "direction", number))
        return asked, torch.randn(subspace.dim, generator=generator)
    _, lengths, rows = torch.linalg.svd((codes - codes.mean(0)).double().cpu(), full_matrices=False)
    count = int((lengths > 1e-6 * lengths.max().clamp_min(1e-12)).sum()) if len(codes) > 1 else 0
    if int(number) > count:
        raise DeltaspaceError(
            f"there is no {asked}", found=f"{count} principal directions of {len(codes)} source tasks", mend="take random ones"
        )
    return asked, rows[int(number) - 1].float()


def with_ways(landscape: Landscape, vectors: Mapping[str, Mapping[str, Tensor]]) -> Landscape:
    """The landscape with the vectors of its task by the deltas they were found through, and the ways that led there.

    Args:
        landscape: of the task.
        vectors: delta -> `vector`, (d,), and `path`, (steps + 1, d), where it was kept.
    """
    for delta, own in vectors.items():
        places, away = landscape.slice.place(own["vector"].unsqueeze(0))
        landscape.marks[delta] = {"place": places[0].tolist(), "distance": float(away[0])}
        if "path" in own:
            landscape.paths[delta] = landscape.slice.place(own["path"])[0].tolist()
    return landscape


def landscapes(folder: Path) -> dict[str, Landscape]:
    """The landscapes of a study by name, planes before paths; those whose vectors have been tuned anew since are left out."""
    found = {path.stem: Landscape.load(path) for path in _current(folder)}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[1].slice.shape)))


def _current(folder: Path) -> Iterator[Path]:
    for path in sorted((folder / FOLDER).glob("[!.]*.safetensors")):
        made_from: dict[str, Any] = read_any(path)["made_from"]
        if all((folder / own).exists() and read_any(folder / own)["fingerprint"] == was for own, was in made_from.items()):
            yield path


def own_vectors(folder: Path, paths: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """Vectors and ways from files, by delta."""
    return {delta: read_tensors(folder / path)[0] for delta, path in paths.items() if (folder / path).exists()}
