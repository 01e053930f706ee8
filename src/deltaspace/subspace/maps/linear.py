"""A linear map: a basis, whose codes are found by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.maps.map import Map, packed, unpacked
from deltaspace.subspace.maps.registry import MAPS


@MAPS.register
@dataclass
class Linear(Map):
    """up(I) = units * (I U); down is its pseudo-inverse.

    Args:
        units: see `Map`.
        up: U, (d, n): its rows are the directions.
    """

    kind: ClassVar[str] = "linear"

    units: Float[Tensor, " params"]
    up: Float[Tensor, "dim params"]

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        # Least norm among the least squares: the basis need not have full rank.
        products = (displacements / self.units @ self.up.T).double()
        return (products @ torch.linalg.pinv((self.up @ self.up.T).double(), hermitian=True)).float()

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return (codes @ self.up) * self.units

    def tensors(self) -> dict[str, Tensor]:
        return {"units": packed(self.units), "up": self.up}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Linear:
        up = tensors["up"]
        return cls(unpacked(tensors["units"], up.shape[1]), up)
