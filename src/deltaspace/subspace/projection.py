"""The paper's projections of one delta: arXiv 2210.13311, section 3.

    down: I = W2 tanh(W1 D / s),    up: D = s U I

W1: (d, n), W2: (d, d), U: (n, d), without biases. `s` is the norm of the delta's mean source displacement: it puts
deltas whose displacements differ in norm on one scale, so that one learning rate and one alpha suit them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass
class Dense:
    """Dense autoencoder with tanh in its encoder and a linear decoder.

    Args:
        first: W1, (d, n).
        second: W2, (d, d).
        up: U, (n, d).
        scale: s, positive.
    """

    first: Float[Tensor, "dim params"]
    second: Float[Tensor, "dim dim"]
    up: Float[Tensor, "params dim"]
    scale: float

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        """Down-projection of displacements."""
        return torch.tanh(displacements @ self.first.T / self.scale) @ self.second.T

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Up-projection of intrinsic vectors; linear."""
        return codes @ self.up.T * self.scale

    def tensors(self) -> list[Tensor]:
        """What approximation trains."""
        return [self.first, self.second, self.up]

    def with_tensors(self, tensors: list[Tensor]) -> Dense:
        """The same projection with other tensors."""
        first, second, up = tensors
        return Dense(first, second, up, self.scale)


def initial_dense(displacements: Float[Tensor, "tasks params"], dim: int, seed: int) -> Dense:
    """A projection that encodes the source displacements near the unit sphere and decodes them to their own size.

    Rows of W1 and columns of U are drawn from a normal distribution whose deviation makes both maps keep norms on
    average: 1 / sqrt(n) on either side (the paper's 0.02 is that value for n = 2,500 only).
    """
    generator = torch.Generator().manual_seed(seed)
    size = displacements.shape[1]
    first = torch.randn(dim, size, generator=generator) / math.sqrt(dim)
    second = torch.eye(dim)
    up = torch.randn(size, dim, generator=generator) / math.sqrt(size)
    scale = float(displacements.norm(dim=1).mean())
    device = displacements.device
    return Dense(first.to(device), second.to(device), up.to(device), max(scale, torch.finfo(torch.float32).tiny))
