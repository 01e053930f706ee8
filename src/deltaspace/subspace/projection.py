"""The paper's projections of one delta (arXiv 2210.13311, section 3), and where they start.

    down: I = W2 tanh(W1 D / (s sqrt(n))),    up: D = (s / sqrt(n)) U I

W1: (d, n), W2: (d, d), U: (n, d), without biases. `s` is the mean norm of the delta's source displacements: deltas whose
displacements differ in norm by a factor of ten come on one scale, so that one learning rate and one alpha suit them all. With
1 / sqrt(n) the entries of U are of order one, and a learning rate is the share of s that a step may move a displacement by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# The start's codes go through tanh at this share of its range, where it is neither flat nor saturated.
_TANH_SHARE = 0.7


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

    @property
    def _root(self) -> float:
        return math.sqrt(self.up.shape[0])

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        """Down-projection of displacements."""
        return torch.tanh(displacements @ self.first.T / (self.scale * self._root)) @ self.second.T

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Up-projection of intrinsic vectors; linear."""
        return codes @ self.up.T * (self.scale / self._root)

    def tensors(self) -> list[Tensor]:
        """What approximation trains."""
        return [self.first, self.second, self.up]

    def with_tensors(self, tensors: list[Tensor]) -> Dense:
        """The same projection with other tensors."""
        first, second, up = tensors
        return Dense(first, second, up, self.scale)


def initial_projections(displacements: Sequence[Float[Tensor, "tasks _"]], dim: int, seed: int) -> list[Dense]:
    """Projections of all deltas that start at the closed form: the joint singular value decomposition of the solutions.

    The displacements of all deltas, each in units of its s, are stacked side by side; their leading r = min(tasks, d)
    left singular vectors are codes that the deltas share, so that a point means the same task for every delta from the
    start. Each of the r directions is then cut into d // r parts of the layout (its order follows the model's depth), so that
    the dimensions that tasks alone would leave empty scale depths apart. What d leaves over is drawn from N(0, 1).

    Args:
        displacements: of every delta, in the same order of tasks.
        dim: d.
        seed: decides the dimensions left over.
    """
    scales = [max(float(d.norm(dim=1).mean()), torch.finfo(torch.float32).tiny) for d in displacements]
    units = [d / s for d, s in zip(displacements, scales, strict=True)]
    tasks = len(units[0])
    rank = min(tasks, dim)
    # The left singular vectors of the stack, from the small Gram matrix: the stack itself is never made.
    gram = torch.stack([u.double() @ u.double().T for u in units]).sum(0)
    left = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :rank].to(units[0].dtype)
    parts = dim // rank
    codes = left.repeat_interleave(parts, dim=1)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for unit, scale in zip(units, scales, strict=True):
        size = unit.shape[1]
        up = torch.randn(size, dim, generator=generator).to(unit)
        directions = left.T @ unit * math.sqrt(size)
        edges = [round(size * part / parts) for part in range(parts + 1)]
        for row in range(rank):
            for part in range(parts):
                column = torch.zeros_like(up[:, 0])
                column[edges[part] : edges[part + 1]] = directions[row, edges[part] : edges[part + 1]]
                up[:, row * parts + part] = column
        padded = torch.nn.functional.pad(codes, (0, dim - rank * parts))
        # The least-norm W1 that takes each task's displacement to its code.
        inner = torch.atanh(_TANH_SHARE * padded)
        first = (torch.linalg.pinv(unit) @ inner).T * math.sqrt(size)
        found.append(Dense(first, torch.eye(dim).to(unit) / _TANH_SHARE, up, scale))
    return found
