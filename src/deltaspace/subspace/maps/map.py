"""What takes a delta's displacements to d numbers and back, once it is made.

    down: R^n -> R^d,    up: R^d -> R^n, linear,    up(I) = units * (I U)

`units`, (n,), is the scale of a displacement's entries; its length s is the mean norm of the delta's source displacements.
Deltas whose displacements differ in norm by a factor of ten so come on one scale, and the entries of U are of order one: with a
learning rate of 1e-2, Adam's step in one dimension moves a displacement by about s / 100.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor


class Map(ABC):
    """The up-projection and down-projection of one delta, fixed. Subclasses register with `MAPS` under their `kind`.

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
        """Everything that makes this map, by name."""

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Map:
        """The map that has these `tensors`."""
        return cls(**tensors)

    def to(self, device: torch.device | str) -> Map:
        """The same map on a device."""
        return self.of({name: tensor.to(device) for name, tensor in self.tensors().items()})


def packed(units: Float[Tensor, " params"]) -> Float[Tensor, " _"]:
    """The units as they are kept: one number where all are equal."""
    return units.new_tensor([float(units[0])]) if bool((units == units[0]).all()) else units


def unpacked(units: Float[Tensor, " _"], size: int) -> Float[Tensor, " params"]:
    """The units of n entries from what `packed` gives."""
    return units.expand(size) if len(units) == 1 else units
