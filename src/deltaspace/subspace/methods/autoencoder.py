"""One autoencoder for each delta, without sharing: Intrinsic Prompt Tuning's, arXiv 2110.07867, section 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.maps.map import Projection
from deltaspace.subspace.methods.displacements import Rows
from deltaspace.subspace.methods.svd import decompose


class SeparateAutoencoders(DenseAutoencoder):
    """As `dense`, but every delta is trained at its own codes only: nothing makes a point mean the same for two deltas.

    Beside `dense` it shows what sharing buys.
    """

    name: ClassVar[str] = "autoencoder"
    source: ClassVar[str] = "https://arxiv.org/abs/2110.07867"
    summary: ClassVar[str] = "an autoencoder for each delta, trained at its own codes: no sharing"
    shared: ClassVar[bool] = False

    def _decomposed(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, large: Sequence[bool]
    ) -> list[tuple[Rows, Projection, Tensor]]:
        found: list[tuple[Rows, Projection, Tensor]] = []
        for displacement, own, wide in zip(displacements, sizes, large, strict=True):
            [projection], codes = decompose(self, [displacement], [own], dim, [wide])
            found.append((displacement, projection, codes))
        return found
