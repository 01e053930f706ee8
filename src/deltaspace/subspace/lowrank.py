"""Training a large up-projection by the low-rank gradients that a few codes give it.

Decoding k codes, C: (k, d), as C U^T gives U: (n, d) the gradient G^T C, where G: (k, n) is that of what was decoded. Its two
factors are kept in place of it: clipping needs |G^T C|^2 = sum(G G^T * C C^T); Adafactor's second moments (Shazeer & Stern 2018,
arXiv 1804.04235, section 3 and algorithm 4) need its squares' means over rows and columns, which the factors give as exactly;
the update, divided by the root of a rank-one matrix, is again a product of k columns and is added in place. Neither the gradient
nor a moment of U's size is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.training import Adam

# arXiv 1804.04235, section 7.2: the second moments' decay is 1 - t^-0.8; an update's root mean square is at most 1 (section 6).
_DECAY = 0.8
_LARGEST_UPDATE = 1.0
_EPSILON = 1e-30

Factors = list[tuple[Float[Tensor, "_ params"], Float[Tensor, "_ dim"]]]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, up: Tensor, factors: Factors) -> Tensor:
        ctx.save_for_backward(codes, up)
        ctx.factors = factors
        return codes @ up.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        codes, up = ctx.saved_tensors
        ctx.factors.append((gradients[0], codes))
        return gradients[0] @ up, None, None


def product(codes: Float[Tensor, "k dim"], up: Float[Tensor, "params dim"], factors: Factors) -> Float[Tensor, "k params"]:
    """`codes @ up.T`; on the way back the gradient of `up` is put into `factors`, that of `codes` goes on."""
    return _Product.apply(codes, up, factors)


class LowRankAdafactor(Adam):
    """Adam for tensors with ordinary gradients, Adafactor without momentum for those whose gradients come as factors.

    Args:
        values: all tensors that are trained.
        factors: for each of them the list that the factors of its gradient are put into, or None for an ordinary gradient.
    """

    def __init__(self, values: Sequence[Tensor], factors: Sequence[Factors | None]) -> None:
        super().__init__([value for value, own in zip(values, factors, strict=True) if own is None])
        self._large = [(value, own) for value, own in zip(values, factors, strict=True) if own is not None]
        self._moments = [
            {"rows": value.new_zeros(len(value)), "columns": value.new_zeros(value.shape[1])} for value, _ in self._large
        ]
        self._steps = 0

    def zero(self) -> None:
        super().zero()
        for _, own in self._large:
            own.clear()

    def norm(self) -> Tensor:
        squares = [super().norm().square()]
        for _, own in self._large:
            gradient, codes = _joined(own)
            squares.append(_inner(gradient, codes))
        return torch.stack(squares).sum().sqrt()

    @torch.no_grad()
    def step(self, lr: float, scale: Tensor) -> None:
        super().step(lr, scale)
        self._steps += 1
        decay = 1 - self._steps**-_DECAY
        for (value, own), moments in zip(self._large, self._moments, strict=True):
            gradient, codes = _joined(own)
            gradient = gradient * scale
            size, dim = value.shape
            # Means of the squared gradient over each row and each column, from its factors.
            rows = ((codes @ codes.T) @ gradient * gradient).sum(0) / dim
            columns = ((gradient @ gradient.T) @ codes * codes).sum(0) / size
            moments["rows"].lerp_(rows.clamp_min(0) + _EPSILON, 1 - decay)
            moments["columns"].lerp_(columns.clamp_min(0) + _EPSILON, 1 - decay)
            # G / sqrt(rows columns^T / mean(rows)) is again a product.
            gradient *= (moments["rows"].mean() / moments["rows"]).sqrt()
            codes = codes / moments["columns"].sqrt()
            mean_square = _inner(gradient, codes) / value.numel()
            codes *= lr / (mean_square.sqrt() / _LARGEST_UPDATE).clamp_min(1)
            value.addmm_(gradient.T, codes, alpha=-1)

    def state(self) -> dict[str, Tensor]:
        found = super().state() | {"large.steps": torch.tensor(self._steps)}
        for index, moments in enumerate(self._moments):
            found |= {f"large.{index}.{key}": tensor for key, tensor in moments.items()}
        return found

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self._steps = int(state["large.steps"])
        for index, moments in enumerate(self._moments):
            for key, tensor in moments.items():
                tensor.copy_(state[f"large.{index}.{key}"])


def _joined(factors: Factors) -> tuple[Float[Tensor, "k params"], Float[Tensor, "k dim"]]:
    if len(factors) == 1:
        return factors[0]
    return torch.cat([gradient for gradient, _ in factors]), torch.cat([codes for _, codes in factors])


def _inner(gradient: Float[Tensor, "k params"], codes: Float[Tensor, "k dim"]) -> Float[Tensor, ""]:
    # |G^T C|^2, without the product.
    return ((gradient @ gradient.T) * (codes @ codes.T)).sum().clamp_min(0)
