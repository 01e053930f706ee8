"""Random Gaussian subspaces: Li et al. 2018 (arXiv 1804.08838), section 2: D = P I with fixed random P. Needs no solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.subspace.fitting.method import ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.hadamard import Hadamard
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.methods.registry import PROJECTIONS


@PROJECTIONS.register
class Gaussian(ProjectionMethod):
    """Independent normal entries: directions are nearly orthogonal and nearly of the units' length. For a delta of the PLM's own
    size, Fastfood stands in for them, as in Aghajanyan et al. 2020.
    """

    name: ClassVar[str] = "gaussian"
    source: ClassVar[str] = "https://arxiv.org/abs/1804.08838"
    summary: ClassVar[str] = "random normal directions; needs no solutions"
    needs_solutions: ClassVar[bool] = False

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        generator = torch.Generator().manual_seed(seed)
        maps: list[Map] = []
        for source in sources:
            units = self.units(source)
            if source.large:
                maps.append(Hadamard.drawn(units, dim, generator))
            else:
                maps.append(Linear(units, torch.randn(dim, source.size, generator=generator).to(units.device)))
        return maps
