"""The paper's projections (arXiv 2210.13311, section 3), and where they start.

    down: I = W2 tanh(W1 (D / units) / n),    up: D = units * (I U)

W1: (d, n), W2: (d, d), U: (d, n), without biases. `trainable.py` has the form in which they are trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from deltaspace.subspace.methods.joint import gram
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.displacements import Rows, stacked
from deltaspace.subspace.methods.svd import decompose
from deltaspace.subspace.methods.trainable import DenseTrainable, Tie, Trainable, tied

# The start's codes go through tanh at this share of its range, where it is neither flat nor saturated.
_TANH_SHARE = 0.7
# arXiv 2210.13311, appendix: the projections are drawn from N(0, 0.02).
_DEVIATION = 0.02


class DenseAutoencoder(Decomposition):
    """Trained with the task loss of every delta at one shared, interpolated code, and the reconstruction."""

    name: ClassVar[str] = "dense"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = (
        "the paper's: dense encoder with tanh, dense linear decoder, trained with task loss and reconstruction"
    )
    learned: ClassVar[bool] = True

    tie: Tie = Field(
        "fastfood", description="of fine-tuning: a Fastfood transform whose diagonal is learned, or the solutions' span"
    )
    start: Literal["svd", "random"] = Field("svd", description="where training starts: the joint SVD, or drawn as in the paper")

    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        found = self.trainables(displacements, sizes, dim, seed, large)
        return [trainable.fixed(d) for trainable, d in zip(found, displacements, strict=True)]

    def trainables(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Trainable]:
        """As `make`, in the form that is trained."""
        generator = torch.Generator().manual_seed(seed)
        large = large or [False] * len(displacements)
        if self.start == "random":
            return [
                self._drawn(d, self.units(d, own), dim, generator, wide)
                for d, own, wide in zip(displacements, sizes, large, strict=True)
            ]
        found: list[Trainable] = []
        for (displacement, projection, codes), own, wide in zip(
            self._decomposed(displacements, sizes, dim, large), sizes, large, strict=True
        ):
            units = self.units(displacement, own) if wide else projection.units
            products = gram(displacement, units)
            # The least-norm W1 that takes each task's displacement to its code.
            anchors = (torch.linalg.pinv(products, hermitian=True) @ torch.atanh(_TANH_SHARE * codes.double())).to(codes)
            encoder = (units, products.to(codes), anchors, torch.eye(dim).to(codes) / _TANH_SHARE)
            if isinstance(projection, Mixture):
                found.append(tied(self.tie, encoder, projection, codes, displacement, generator))
                continue
            assert isinstance(projection, Linear)
            # Dimensions that the solutions leave empty are drawn: at zero they would get no gradient.
            up = projection.up
            for row in torch.nonzero(~up.any(1)).flatten():
                up[row] = torch.randn(up.shape[1], generator=generator).to(up)
            found.append(DenseTrainable(*encoder, up))
        return found

    def _decomposed(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, large: Sequence[bool]
    ) -> list[tuple[Rows, Projection, Tensor]]:
        projections, codes = decompose(self, displacements, sizes, dim, large)
        return [(d, projection, codes) for d, projection in zip(displacements, projections, strict=True)]

    def _drawn(self, displacement: Rows, units: Tensor, dim: int, generator: torch.Generator, wide: bool) -> Trainable:
        def draw(*shape: int) -> Tensor:
            return (_DEVIATION * torch.randn(*shape, generator=generator)).to(displacement.device)

        tasks = displacement.shape[0]
        encoder = (units, gram(displacement, units).float(), draw(tasks, dim), draw(dim, dim))
        # Entries of U are of order one in our units; the paper's deviation is kept relative to that.
        if not wide:
            return DenseTrainable(*encoder, draw(dim, len(units)) / _DEVIATION)
        span = Mixture(
            torch.tensor([0, len(units)], device=units.device), draw(1, dim, tasks) / _DEVIATION, stacked(displacement)
        )
        return tied(self.tie, encoder, span, None, displacement, generator)
