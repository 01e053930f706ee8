"""A linear map in which each dimension moves one tensor of the delta alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.subspace.maps.map import Map, packed, unpacked
from deltaspace.subspace.maps.registry import MAPS


@MAPS.register
@dataclass
class Blocks(Map):
    """In the columns of block b: up(I) = units * (I_b U_b), I_b being the coordinates of that block; down is the pseudo-inverse.

    Args:
        units: see `Map`.
        edges: of the blocks among the parameters, from 0 to n, (blocks + 1,).
        counts: coordinates of each block, (blocks,); their sum is d.
        bases: all U_b, (counts[b], size of b) each, row by row, one behind the other.
    """

    kind: ClassVar[str] = "blocks"

    units: Float[Tensor, " params"]
    edges: Int[Tensor, " edges"]
    counts: Int[Tensor, " blocks"]
    bases: Float[Tensor, " numbers"]

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        scaled, parts = displacements / self.units, []
        for start, stop, up in self._parts():
            products = (scaled[:, start:stop] @ up.T).double()
            parts.append((products @ torch.linalg.pinv((up @ up.T).double(), hermitian=True)).float())
        return torch.cat(parts, dim=1)

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        parts = codes.split(self.counts.tolist(), dim=1)
        return torch.cat([part @ up for part, (_, _, up) in zip(parts, self._parts(), strict=True)], dim=1) * self.units

    def _parts(self) -> Iterator[tuple[int, int, Float[Tensor, "count size"]]]:
        """Where each block begins and ends, and its U."""
        edges, first = self.edges.tolist(), 0
        for start, stop, count in zip(edges, edges[1:], self.counts.tolist(), strict=False):
            last = first + count * (stop - start)
            yield start, stop, self.bases[first:last].view(count, stop - start)
            first = last

    def tensors(self) -> dict[str, Tensor]:
        return {"units": packed(self.units), "edges": self.edges, "counts": self.counts, "bases": self.bases}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Blocks:
        edges = tensors["edges"]
        return cls(unpacked(tensors["units"], int(edges[-1])), edges, tensors["counts"], tensors["bases"])
