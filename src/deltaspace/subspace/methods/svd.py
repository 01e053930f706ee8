"""Joint SVD: the subspace in closed form, without training (see `joint.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.subspace.methods.joint import basis, cuts, gram, mixture, shared_codes, spread
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.displacements import Rows


class Svd(Decomposition):
    """One code per task, one basis per delta."""

    name: ClassVar[str] = "svd"
    source: ClassVar[str] = "https://doi.org/10.1007/BF02288367"
    summary: ClassVar[str] = "joint singular value decomposition of the displacements of all deltas: shared codes, closed form"

    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        projections, _ = decompose(self, displacements, sizes, dim, large)
        return projections


def decompose(
    method: Decomposition,
    displacements: Sequence[Rows],
    sizes: Sequence[list[int]],
    dim: int,
    large: Sequence[bool] = (),
) -> tuple[list[Projection], Float[Tensor, "tasks dim"]]:
    """The joint SVD of all deltas: their projections, and the source tasks' codes, which all of them share."""
    units = [method.units(d, own) for d, own in zip(displacements, sizes, strict=True)]
    rank = min(displacements[0].shape[0], dim)
    parts = cuts(dim, rank, min(len(own) for own in sizes))
    codes = shared_codes([gram(r, u) for r, u in zip(displacements, units, strict=True)], rank)
    found: list[Projection] = []
    for index, (rows, unit, own) in enumerate(zip(displacements, units, sizes, strict=True)):
        if large and large[index]:
            found.append(mixture(rows, codes, parts, own, dim))
        else:
            found.append(Linear(unit, basis(rows, unit, codes, parts, own, dim)))
    # d beyond rank * blocks: dimensions that decode to nothing.
    return found, pad(spread(codes, parts), (0, dim - sum(parts)))
