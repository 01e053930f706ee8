"""Maps beside each other: what a subspace has once it has grown. The first d numbers decode as they always did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.maps.map import Map
from deltaspace.subspace.maps.registry import MAPS


@MAPS.register
@dataclass
class Stacked(Map):
    """up(I) = first.up(I[:d]) + second.up(I[d:]).

    Args:
        first: the map of the first d dimensions.
        second: of the others.
        dim: d.
    """

    kind: ClassVar[str] = "stacked"

    first: Map
    second: Map
    dim: int

    @property
    def units(self) -> Float[Tensor, " params"]:  # type: ignore[override]
        """Those of the first."""
        return self.first.units

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return self.first.decode(codes[:, : self.dim]) + self.second.decode(codes[:, self.dim :])

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        # The second was made from what the first leaves over.
        codes = self.first.encode(displacements)
        return torch.cat([codes, self.second.encode(displacements - self.first.decode(codes))], dim=1)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {"dim": torch.tensor(self.dim)}
        for name, part in (("first", self.first), ("second", self.second)):
            tensors |= {f"{name}/{part.kind}/{key}": tensor for key, tensor in part.tensors().items()}
        return tensors

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Stacked:
        parts = []
        for name in ("first", "second"):
            kept = {key.split("/", 1)[1]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
            [kind] = {key.split("/", 1)[0] for key in kept}
            parts.append(MAPS[kind].of({key.split("/", 1)[1]: tensor for key, tensor in kept.items()}))
        return cls(*parts, int(tensors["dim"]))
