"""Projections beside each other: what a subspace has once it has grown. The first d numbers decode as they always did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.maps.map import Projection


@dataclass
class Stacked(Projection):
    """up(I) = first.up(I[:d]) + second.up(I[d:]).

    Args:
        first: the projection of the first d dimensions.
        second: of the others.
        dim: d.
    """

    kind: ClassVar[str] = "stacked"

    first: Projection
    second: Projection
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
        found = {"dim": torch.tensor(self.dim)}
        for place, part in (("first", self.first), ("second", self.second)):
            found |= {f"{place}/{part.kind}/{name}": tensor for name, tensor in part.tensors().items()}
        return found

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Stacked:
        from deltaspace.subspace.methods.registry import KINDS

        parts: dict[str, Projection] = {}
        for place in ("first", "second"):
            own = {name.split("/", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{place}/")}
            [kind] = {name.split("/", 1)[0] for name in own}
            parts[place] = KINDS[kind].of({name.split("/", 1)[1]: tensor for name, tensor in own.items()})
        return cls(parts["first"], parts["second"], int(tensors["dim"]))
