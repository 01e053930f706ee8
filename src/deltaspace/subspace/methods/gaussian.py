"""Random Gaussian subspaces: Li et al. 2018 (arXiv 1804.08838), section 2: D = P I with fixed random P. Needs no solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.subspace.methods.fastfood import Hadamard
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.displacements import Rows


class Gaussian(Decomposition):
    """Independent normal entries: directions are nearly orthogonal and nearly of the units' length. For a delta of the PLM's own
    size, Fastfood stands in for them, as in Aghajanyan et al. 2020.
    """

    name: ClassVar[str] = "gaussian"
    source: ClassVar[str] = "https://arxiv.org/abs/1804.08838"
    summary: ClassVar[str] = "random normal directions; needs no solutions"
    needs_solutions: ClassVar[bool] = False

    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        generator = torch.Generator().manual_seed(seed)
        found: list[Projection] = []
        for index, (displacement, own) in enumerate(zip(displacements, sizes, strict=True)):
            units = self.units(displacement, own)
            if large and large[index]:
                found.append(Hadamard.drawn(units, dim, generator))
            else:
                found.append(Linear(units, torch.randn(dim, displacement.shape[1], generator=generator).to(units.device)))
        return found
