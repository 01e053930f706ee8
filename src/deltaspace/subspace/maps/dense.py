"""The map of a dense autoencoder: arXiv 2210.13311, section 3.

    down: I = W2 tanh(W1 (D / units) / n),    up: D = units * (I U)

W1: (d, n), W2: (d, d), U: (d, n), without biases.
"""

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
class Dense(Map):
    """Dense autoencoder with tanh in its encoder and a linear decoder.

    Args:
        units: see `Map`.
        first: W1, (d, n).
        second: W2, (d, d).
        up: U, (d, n).
    """

    kind: ClassVar[str] = "dense"

    units: Float[Tensor, " params"]
    first: Float[Tensor, "dim params"]
    second: Float[Tensor, "dim dim"]
    up: Float[Tensor, "dim params"]

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        return torch.tanh(displacements / self.units @ self.first.T / len(self.units)) @ self.second.T

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return (codes @ self.up) * self.units

    def tensors(self) -> dict[str, Tensor]:
        return {"units": packed(self.units), "first": self.first, "second": self.second, "up": self.up}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Dense:
        return cls(**{**tensors, "units": unpacked(tensors["units"], tensors["up"].shape[1])})
