"""One autoencoder for each delta, without sharing: Intrinsic Prompt Tuning's, arXiv 2110.07867, section 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.methods.registry import PROJECTIONS
from deltaspace.subspace.methods.svd import decompose


@PROJECTIONS.register
class SeparateAutoencoders(DenseAutoencoder):
    """As `dense`, but every delta is trained at its own codes only: nothing makes a point mean the same for two deltas.

    Beside `dense` it shows what sharing buys.
    """

    name: ClassVar[str] = "autoencoder"
    source: ClassVar[str] = "https://arxiv.org/abs/2110.07867"
    summary: ClassVar[str] = "an autoencoder for each delta, trained at its own codes: no sharing"
    shared: ClassVar[bool] = False

    def _decomposed(self, sources: Sequence[Source], dim: int) -> list[tuple[Map, Tensor]]:
        started: list[tuple[Map, Tensor]] = []
        for source in sources:
            [decoded], codes = decompose(self, [source], dim)
            started.append((decoded, codes))
        return started
