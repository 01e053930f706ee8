"""What every projection can do, and the methods that make the projections of all deltas of a subspace.

    down: R^n -> R^d,    up: R^d -> R^n, linear,    up(I) = units * (I U)

`units`, (n,), is the scale of a displacement's entries; its length s is the mean norm of the delta's source displacements.
Deltas whose displacements differ in norm by a factor of ten so come on one scale, and the entries of U are of order one: a
learning rate is the share of s by which a step may move a displacement. The units are the same for all entries of a delta, or
for the entries of each tensor block (`scaling`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from deltaspace.subspace.methods.displacements import Rows, runs

Scaling = Literal["delta", "block"]


def packed(units: Float[Tensor, " params"]) -> Float[Tensor, " _"]:
    """The units as they are kept: one number where all are equal."""
    return units.new_tensor([float(units[0])]) if bool((units == units[0]).all()) else units


def unpacked(units: Float[Tensor, " _"], size: int) -> Float[Tensor, " params"]:
    """The units of n entries from what `packed` gives."""
    return units.expand(size) if len(units) == 1 else units


class Projection(ABC):
    """The projections of one delta, fixed.

    Args:
        units: scale of the entries of a displacement, (n,), positive.
    """

    kind: ClassVar[str]
    units: Float[Tensor, " params"]

    @property
    def scale(self) -> float:
        """s, the length of the units: what a displacement's norm is measured in."""
        return float(self.units.norm())

    @abstractmethod
    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        """Down-projection of displacements."""

    @abstractmethod
    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Up-projection of intrinsic vectors; linear."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything that makes this projection, by name."""

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Projection:
        """The projection that has these `tensors`."""
        return cls(**tensors)

    def to(self, device: torch.device | str) -> Projection:
        """The same projection on a device."""
        return self.of({name: tensor.to(device) for name, tensor in self.tensors().items()})


class Decomposition(BaseModel, ABC):
    """A way of making the projections of all deltas. The fields are its settings, as a recipe writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    source: ClassVar[str]
    summary: ClassVar[str]
    learned: ClassVar[bool] = False
    shared: ClassVar[bool] = True
    needs_solutions: ClassVar[bool] = True

    scaling: Scaling = Field("delta", description="units of a displacement: one for a delta, or one for each tensor block")

    @abstractmethod
    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        """Projections of all deltas, before any training.

        Args:
            displacements: of every delta, its source solutions in the same order of tasks; no rows where none are needed.
            sizes: of every delta, the numbers in each tensor block.
            dim: d.
            seed: decides what is drawn.
            large: of every delta, whether it is of the PLM's own size, so that no dense basis fits; none is by default.

        Raises:
            DeltaspaceError: d does not suit the number of source tasks.
        """

    def units(self, displacements: Rows, sizes: list[int]) -> Float[Tensor, " params"]:
        """The units of one delta; without solutions their length is 1."""
        (tasks, count), device = displacements.shape, displacements.device
        if tasks == 0:
            return torch.full((count,), 1 / math.sqrt(count), device=device)
        tiny = torch.finfo(torch.float32).tiny ** 0.5
        squares = torch.zeros(tasks, device=device)
        entries = torch.empty(count, device=device)
        for start, stop in runs(displacements):
            part = displacements.columns(start, stop).square()
            squares += part.sum(1)
            entries[start:stop] = part.mean(0)
        length = squares.sqrt().mean().clamp_min(tiny)
        if self.scaling == "delta":
            return (length / math.sqrt(count)).repeat(count)
        blocks = torch.stack([part.mean() for part in entries.split(sizes)]).sqrt()
        # A block that no source task moves keeps a small unit: it can still be moved.
        blocks = blocks.clamp_min(1e-3 * float(blocks.max())).clamp_min(tiny)
        units = blocks.repeat_interleave(torch.tensor(sizes, device=device))
        return units * (length / units.norm())
