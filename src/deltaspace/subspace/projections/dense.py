"""The paper's projections (arXiv 2210.13311, section 3), and where they start.

    down: I = W2 tanh(W1 (D / units) / n),    up: D = units * (I U)

W1: (d, n), W2: (d, d), U: (d, n), without biases. In training the encoder only ever sees the source tasks' displacements D_1 ...
D_T, so W1 = A^T (D / units) says all it can say there: with the Gram matrix K = (D / units) (D / units)^T / n, (T, T), their
codes are W2 tanh(K A), and T d numbers are trained in place of n d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.subspace.projections.joint import gram, weighted
from deltaspace.subspace.projections.linear import Linear
from deltaspace.subspace.projections.projection import Decomposition, Projection
from deltaspace.subspace.projections.rows import Rows
from deltaspace.subspace.projections.svd import decompose

# The start's codes go through tanh at this share of its range, where it is neither flat nor saturated.
_TANH_SHARE = 0.7
# arXiv 2210.13311, appendix: the projections are drawn from N(0, 0.02).
_DEVIATION = 0.02


@dataclass
class Dense(Projection):
    """Dense autoencoder with tanh in its encoder and a linear decoder.

    Args:
        units: see `Projection`.
        first: W1, (d, n).
        second: W2, (d, d).
        up: U, (d, n).
    """

    kind: ClassVar[str] = "dense"

    units: Float[Tensor, " params"]
    first: Float[Tensor, "dim params"]
    second: Float[Tensor, "dim dim"]
    up: Float[Tensor, "dim params"]

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        return torch.tanh(displacements / self.units @ self.first.T / len(self.units)) @ self.second.T

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return (codes @ self.up) * self.units

    def tensors(self) -> dict[str, Tensor]:
        return {"units": self.units, "first": self.first, "second": self.second, "up": self.up}


@dataclass
class Trainable:
    """Dense projections of one delta while they are trained on fixed displacements.

    Args:
        units: see `Projection`.
        gram: K, (tasks, tasks).
        anchors: A, (tasks, d).
        second: W2, (d, d).
        up: U, (d, n).
    """

    units: Float[Tensor, " params"]
    gram: Float[Tensor, "tasks tasks"]
    anchors: Float[Tensor, "tasks dim"]
    second: Float[Tensor, "dim dim"]
    up: Float[Tensor, "dim params"]

    def codes(self) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes."""
        return torch.tanh(self.gram @ self.anchors) @ self.second.T

    def trained(self) -> list[Tensor]:
        """What training changes: A, W2, U."""
        return [self.anchors, self.second, self.up]

    def with_trained(self, tensors: Sequence[Tensor]) -> Trainable:
        """The same with other A, W2, U."""
        return Trainable(self.units, self.gram, *tensors)

    def fixed(self, displacements: Rows) -> Dense:
        """The projections for any displacement: W1 = A^T (D / units)."""
        return Dense(self.units, weighted(displacements, self.units, self.anchors), self.second, self.up)


class DenseAutoencoder(Decomposition):
    """Trained with the task loss of every delta at one shared, interpolated code, and the reconstruction."""

    name: ClassVar[str] = "dense"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = (
        "the paper's: dense encoder with tanh, dense linear decoder, trained with task loss and reconstruction"
    )
    learned: ClassVar[bool] = True

    start: Literal["svd", "random"] = Field("svd", description="where training starts: the joint SVD, or drawn as in the paper")

    def make(self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int) -> list[Projection]:
        found = self.trainables(displacements, sizes, dim, seed)
        return [trainable.fixed(d) for trainable, d in zip(found, displacements, strict=True)]

    def trainables(self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int) -> list[Trainable]:
        """As `make`, in the form that is trained."""
        generator = torch.Generator().manual_seed(seed)
        if self.start == "random":
            return [self._drawn(d, self.units(d, own), dim, generator) for d, own in zip(displacements, sizes, strict=True)]
        found = []
        for displacement, linear, codes in self._decomposed(displacements, sizes, dim):
            products = gram(displacement, linear.units)
            # The least-norm W1 that takes each task's displacement to its code.
            anchors = torch.linalg.pinv(products, hermitian=True) @ torch.atanh(_TANH_SHARE * codes.double())
            # Dimensions that the solutions leave empty are drawn: at zero they would get no gradient.
            up = linear.up
            for row in torch.nonzero(~up.any(1)).flatten():
                up[row] = torch.randn(up.shape[1], generator=generator).to(up)
            second = torch.eye(dim).to(up) / _TANH_SHARE
            found.append(Trainable(linear.units, products.to(up), anchors.to(up), second, up))
        return found

    def _decomposed(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int
    ) -> list[tuple[Rows, Linear, Tensor]]:
        projections, codes = decompose(self, displacements, sizes, dim)
        return [(d, projection, codes) for d, projection in zip(displacements, projections, strict=True)]

    def _drawn(self, displacement: Rows, units: Tensor, dim: int, generator: torch.Generator) -> Trainable:
        def draw(*shape: int) -> Tensor:
            return (_DEVIATION * torch.randn(*shape, generator=generator)).to(displacement.device)

        products = gram(displacement, units).float()
        # Entries of U are of order one in our units; the paper's deviation is kept relative to that.
        up = draw(dim, len(units)) / _DEVIATION
        return Trainable(units, products, draw(displacement.shape[0], dim), draw(dim, dim), up)
