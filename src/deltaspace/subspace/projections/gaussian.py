"""Random Gaussian subspaces: Li et al. 2018 (arXiv 1804.08838), section 2: D = P I with fixed random P. Needs no solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.subspace.projections.linear import Linear
from deltaspace.subspace.projections.projection import Decomposition, Projection
from deltaspace.subspace.projections.rows import Rows


class Gaussian(Decomposition):
    """Independent normal entries: directions are nearly orthogonal and nearly of the units' length."""

    name: ClassVar[str] = "gaussian"
    source: ClassVar[str] = "https://arxiv.org/abs/1804.08838"
    summary: ClassVar[str] = "random normal directions; needs no solutions"
    needs_solutions: ClassVar[bool] = False

    def make(self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int) -> list[Projection]:
        generator = torch.Generator().manual_seed(seed)
        found: list[Projection] = []
        for displacement, own in zip(displacements, sizes, strict=True):
            up = torch.randn(dim, displacement.shape[1], generator=generator).to(displacement.device)
            found.append(Linear(self.units(displacement, own), up))
        return found
