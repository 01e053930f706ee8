"""Fastfood subspaces: Le et al. 2013 (arXiv 1408.3060), section 3; for intrinsic dimensions Aghajanyan et al. 2020 (2012.13255).

Random directions that are never stored (`maps/hadamard.py`). Needs no solutions. Where the diagonal G is trained, this is how
arXiv 2210.13311, section 3, ties fine-tuning to the same codes as the other deltas (`fitting/trainable.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.subspace.fitting.method import ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.hadamard import Hadamard
from deltaspace.subspace.methods.registry import PROJECTIONS


@PROJECTIONS.register
class Fastfood(ProjectionMethod):
    """Structured random directions, for sizes at which a Gaussian matrix does not fit."""

    name: ClassVar[str] = "fastfood"
    source: ClassVar[str] = "https://arxiv.org/abs/1408.3060"
    summary: ClassVar[str] = "structured random directions (H G P H B) that are never stored; needs no solutions"
    needs_solutions: ClassVar[bool] = False

    def numbers(self, sizes: Sequence[tuple[int, bool]], tasks: int, dim: int) -> int:
        return sum(size for size, _ in sizes)

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        generator = torch.Generator().manual_seed(seed)
        return [Hadamard.drawn(self.units(source), dim, generator) for source in sources]
