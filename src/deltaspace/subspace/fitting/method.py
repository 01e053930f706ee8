"""How the maps of all deltas of a subspace are made: what every projection method says of itself and does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.settings import Settings
from deltaspace.subspace.fitting.displacements import runs
from deltaspace.subspace.fitting.joint import gram
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Resume, Training

Scaling = Literal["delta", "block"]
# Below it squares are nothing in fp32.
_TINY = torch.finfo(torch.float32).tiny ** 0.5


class Approximation(Training):
    """How the approximation trains."""

    alpha: float = Field(default=1.0, ge=0, description="weight of the reconstruction")
    tasks: int = Field(default=4, ge=1, description="source tasks in a batch, which they share equally")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="tasks are drawn in proportion to their training examples to the power 1 / temperature; none: equally",
    )
    dev: int = Field(default=100, ge=1, description="dev examples of each source task that an evaluation takes")


@dataclass(frozen=True)
class Problem:
    """What stage 1 has to find a subspace from.

    Args:
        attached: the deltas, on one backbone.
        sources: of each of them, its source solutions.
        tasks: the source tasks.
        dim: d.
        settings: how trained methods train.
        seed: decides what is drawn.
    """

    attached: Sequence[AttachedDelta]
    sources: Sequence[Source]
    tasks: Sequence[Task]
    dim: int
    settings: Approximation
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What a method found.

    Args:
        maps: of every delta.
        codes: of every delta and source task, (deltas, tasks, d); no tasks where the method needs no solutions.
        offsets: of every delta a displacement that is there at every vector, (n,); None is zero.
        history: how it was trained: steps, seconds, best_step and curve; empty for closed forms.
    """

    maps: Sequence[Map]
    codes: Float[Tensor, "deltas tasks dim"]
    offsets: Sequence[Float[Tensor, " _"] | None] = ()
    history: dict[str, Any] = field(default_factory=dict)


class ProjectionMethod(Settings, ABC):
    """A way of making the maps of all deltas. The fields are its settings, as a recipe writes them."""

    name: ClassVar[str]
    source: ClassVar[str]
    summary: ClassVar[str]
    # Whether stage 1 trains it.
    trained: ClassVar[bool] = False
    # Whether all deltas have the same code for a task.
    shared: ClassVar[bool] = True
    needs_solutions: ClassVar[bool] = True
    # Settings that earlier versions lacked, each with the value at which the maps are what theirs were.
    later: ClassVar[dict[str, object]] = {}

    scaling: Scaling = Field(
        default="delta", description="units of a displacement: one for a delta, or one for each tensor block"
    )

    def relative_to(self, folder: Path) -> ProjectionMethod:
        """The same method, with the files that its settings name relative to a folder: that of the recipe."""
        return self

    def without_paths(self) -> ProjectionMethod:
        """The same method, with no file named: `read_from` says what is in these, and where they lie decides nothing."""
        return self

    def check_deltas(self, names: Sequence[str]) -> None:
        """Raise DeltaspaceError unless its settings suit the deltas of these names."""

    def check_dim(self, dim: int, tasks: int, blocks: int) -> None:
        """Raise DeltaspaceError unless d suits so many source tasks, and deltas of at least so many tensor blocks."""

    def check_sources(self, tasks: Sequence[Task], large: Sequence[str]) -> None:
        """Raise DeltaspaceError unless it can be made from these source tasks, for deltas of which some are `large`.

        Args:
            tasks: the source tasks.
            large: names of the deltas that are of the PLM's size.
        """

    def numbers(self, sizes: Sequence[tuple[int, bool]], tasks: int, dim: int) -> int:
        """How many numbers its maps hold at least: d directions of a delta's size, or what mixes the source solutions.

        Args:
            sizes: of every delta, with whether it is `large`.
            tasks: how many source tasks.
            dim: d.
        """
        return sum(size * tasks if large else size * dim for size, large in sizes)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the maps, files aside, without those at which the maps are as if there were none."""
        said = self.without_paths().model_dump()
        return {name: value for name, value in said.items() if name not in self.later or value != self.later[name]}

    def read_from(self) -> list[str]:
        """What is in the files that its settings name: it decides the subspace as settings do.

        Raises:
            DeltaspaceError: a file is missing, or is not what it should be.
        """
        return []

    @abstractmethod
    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        """The maps of all deltas, before any training.

        Args:
            sources: of every delta.
            dim: d.
            seed: decides what is drawn.

        Raises:
            DeltaspaceError: d does not suit the number of source tasks.
        """

    def fit(self, problem: Problem, drawn: int, resume: Resume = NO_RESUME) -> Fitted:
        """The maps and the source tasks' codes; in closed form, unless a method trains them.

        Args:
            problem: what they are made from.
            drawn: the seed of what `make` draws.
            resume: see `deltaspace.training.fit`.

        Raises:
            DeltaspaceError: as `make`; or the training diverges.
        """
        maps = self.make(problem.sources, problem.dim, drawn)
        codes = [_codes(m, source, problem.dim) for m, source in zip(maps, problem.sources, strict=True)]
        return Fitted(maps, torch.stack(codes))

    def units(self, source: Source) -> Float[Tensor, " params"]:
        """The scale of the entries of one delta's displacement; without solutions its length is 1."""
        displacements = source.displacements
        (tasks, count), device = displacements.shape, displacements.device
        if tasks == 0:
            return torch.full((count,), 1 / math.sqrt(count), device=device)
        squares = torch.zeros(tasks, device=device)
        entries = torch.empty(count, device=device)
        for start, stop in runs(displacements):
            part = displacements.columns(start, stop).square()
            squares += part.sum(1)
            entries[start:stop] = part.mean(0)
        length = squares.sqrt().mean().clamp_min(_TINY)
        if self.scaling == "delta":
            return (length / math.sqrt(count)).repeat(count)
        sizes = list(source.blocks)
        blocks = torch.stack([part.mean() for part in entries.split(sizes)]).sqrt()
        # A block that no source task moves keeps a small unit: it can still be moved.
        blocks = blocks.clamp_min(1e-3 * float(blocks.max())).clamp_min(_TINY)
        units = blocks.repeat_interleave(torch.tensor(sizes, device=device))
        return units * (length / units.norm())

    def units_and_products(self, source: Source) -> tuple[Float[Tensor, " params"], Float[Tensor, "tasks tasks"]]:
        """`units`, and the displacements' inner products in them (`gram`); these are read once where all have one scale."""
        displacements = source.displacements
        if self.scaling != "delta" or source.tasks == 0:
            units = self.units(source)
            return units, gram(displacements, units)
        plain = gram(displacements)
        # The mean length over the root of n: the root of what `gram` has divided by n.
        unit = plain.diagonal().sqrt().mean().clamp_min(_TINY)
        return unit.float().repeat(source.size), plain / unit.square()


def _codes(fitted: Map, source: Source, dim: int) -> Float[Tensor, "tasks dim"]:
    # One task at a time: the displacements may be larger than memory.
    displacements = source.displacements
    codes = [fitted.encode(displacements.take([task])) for task in range(source.tasks)]
    return torch.cat(codes) if codes else torch.zeros(0, dim, device=displacements.device)
