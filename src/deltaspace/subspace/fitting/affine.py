"""Maps in training whose codes are given and whose decoder has an offset: its last row, which belongs to the constant 1.

    D = units * ([I, 1] U),    U: (d + 1, n)

What is trained is U, or for a delta of the PLM's size the mixtures of its source displacements.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.subspace.fitting.displacements import Displacements
from deltaspace.subspace.fitting.lowrank import LowRankGradient, decode_and_compare
from deltaspace.subspace.fitting.trainable import Trainable
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture


@dataclass
class Affine(Trainable):
    """Given codes, a trained decoder with an offset.

    Args:
        units: see `Map`.
        task_codes: of the source tasks, the same for all deltas, (tasks, d).
    """

    task_codes: Float[Tensor, "tasks dim"]

    def codes(self) -> Float[Tensor, "tasks dim"]:
        return self.task_codes

    @abstractmethod
    def transformed(self, mixing: Float[Tensor, "dim dim"]) -> Affine:
        """With the directions mixed, U <- M U; the offset stays."""

    @abstractmethod
    def displacement_at_zero(self) -> Float[Tensor, " params"]:
        """See `Trainable`; these have one always."""

    @abstractmethod
    def offset(self) -> Tensor:
        """The last row of U."""

    @abstractmethod
    def with_offset(self, offset: Tensor) -> Affine:
        """With another last row."""


@dataclass
class AffineDense(Affine):
    """A dense decoder, whose gradient comes as factors.

    Args:
        units, task_codes: see `Affine`.
        up: U, (d + 1, n).
    """

    fields_trained: ClassVar[tuple[str, ...]] = ("up",)

    up: Float[Tensor, "dim_1 params"]
    gradient: LowRankGradient = field(default_factory=LowRankGradient)

    def factors(self) -> dict[str, LowRankGradient]:
        return {"up": self.gradient}

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return with_one(codes) @ self.up * self.units

    def decode_and_compare(
        self,
        mixed: Float[Tensor, "m dim"],
        codes: Float[Tensor, "k dim"],
        initial: Float[Tensor, " params"],
        displacements: Float[Tensor, "k params"],
    ) -> tuple[Float[Tensor, "m params"], Float[Tensor, " k"]]:
        return decode_and_compare(with_one(mixed), with_one(codes), self.up, initial, self.units, displacements, self.gradient)

    def displacement_at_zero(self) -> Float[Tensor, " params"]:
        return self.up[-1] * self.units

    def fixed(self, displacements: Displacements) -> Map:
        return Linear(self.units, self.up[:-1].clone())

    def transformed(self, mixing: Float[Tensor, "dim dim"]) -> AffineDense:
        """See `Affine.transformed`."""
        return replace(self, up=torch.cat([mixing @ self.up[:-1], self.up[-1:]]))

    def offset(self) -> Float[Tensor, " params"]:
        """See `Affine.offset`."""
        return self.up[-1].clone()

    def with_offset(self, offset: Float[Tensor, " params"]) -> AffineDense:
        """See `Affine.with_offset`."""
        return replace(self, up=torch.cat([self.up[:-1], offset.unsqueeze(0)]))


@dataclass
class AffineMixture(Affine):
    """Mixtures of the source displacements, for a delta of the PLM's size.

    Args:
        units, task_codes: see `Affine`.
        span: what is mixed.
        mixing: (segments, d + 1, T).
    """

    fields_trained: ClassVar[tuple[str, ...]] = ("mixing",)

    span: Mixture
    mixing: Float[Tensor, "segments dim_1 tasks"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return replace(self.span, mixing=self.mixing).decode(with_one(codes))

    def displacement_at_zero(self) -> Float[Tensor, " params"]:
        return replace(self.span, mixing=self.mixing[:, -1:]).decode(self.mixing.new_ones(1, 1))[0]

    def fixed(self, displacements: Displacements) -> Map:
        return replace(self.span, mixing=self.mixing[:, :-1].clone())

    def transformed(self, mixing: Float[Tensor, "dim dim"]) -> AffineMixture:
        """See `Affine.transformed`."""
        mixed = torch.einsum("ij,sjt->sit", mixing, self.mixing[:, :-1])
        return replace(self, mixing=torch.cat([mixed, self.mixing[:, -1:]], dim=1))

    def offset(self) -> Float[Tensor, "segments tasks"]:
        """See `Affine.offset`."""
        return self.mixing[:, -1].clone()

    def with_offset(self, offset: Float[Tensor, "segments tasks"]) -> AffineMixture:
        """See `Affine.with_offset`."""
        return replace(self, mixing=torch.cat([self.mixing[:, :-1], offset.unsqueeze(1)], dim=1))


def with_one(codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim_1"]:
    """[I, 1]."""
    return pad(codes, (0, 1), value=1.0)
