"""Training a large up-projection by the low-rank gradients that a few codes give it.

Decoding k codes, C: (k, d), as C U gives U: (d, n) the gradient C^T G, where G: (k, n) is that of what was decoded. Its two
factors are kept in place of it: clipping needs |C^T G|^2 = sum(G G^T * C C^T); Adafactor's second moments (Shazeer & Stern 2018,
arXiv 1804.04235, section 3 and algorithm 4) need its squares' means over rows and columns, which the factors give as exactly;
the update, divided by the root of a rank-one matrix, is again a product of k rows and is added in place. Neither the gradient
nor a moment of U's size is ever made. U is read once on the way forward, once on the way back and once when it is changed, in
runs of columns that fit the processor's cache with everything that is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.training import Adam, Processes

# arXiv 1804.04235, section 7.2: the second moments' decay is 1 - t^-0.8; an update's root mean square is at most 1 (section 6).
_DECAY = 0.8
_LARGEST_UPDATE = 1.0
_EPSILON = 1e-30
# Columns in a run on a CPU; an accelerator takes all at once.
_RUN = 8192


class LowRankGradient:
    """The gradient of one up-projection, C^T G, as the factors of every batch of a step."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._used = 0
        self._factors: list[tuple[Tensor, Tensor, Tensor]] = []

    def clear(self) -> None:
        """Forget the factors; their memory is kept for the next step."""
        self._factors, self._used = [], 0

    def buffer(self, like: Tensor, rows: int, params: int) -> Float[Tensor, "rows params"]:
        """Memory for one G."""
        if self._used == len(self._buffers):
            self._buffers.append(like.new_empty(rows, params))
        elif self._buffers[self._used].shape != (rows, params):
            self._buffers[self._used] = like.new_empty(rows, params)
        self._used += 1
        return self._buffers[self._used - 1]

    def add(self, gradient: Float[Tensor, "k params"], codes: Float[Tensor, "k dim"], inner: Float[Tensor, "k k"]) -> None:
        """Add C^T G, with G G^T at hand."""
        self._factors.append((gradient, codes, inner))

    def gather(self, processes: Processes) -> None:
        """Have the factors of all processes in place of this one's."""
        if processes.count > 1:
            gradient, codes, _ = self.joined()
            gradient, codes = processes.gathered([gradient, codes])
            self._factors = [(gradient, codes, gradient @ gradient.T)]

    def joined(self) -> tuple[Float[Tensor, "k params"], Float[Tensor, "k dim"], Float[Tensor, "k k"]]:
        """G, C and G G^T of all batches together."""
        if len(self._factors) == 1:
            return self._factors[0]
        gradient = torch.cat([gradient for gradient, _, _ in self._factors])
        return gradient, torch.cat([codes for _, codes, _ in self._factors]), gradient @ gradient.T


class _DecodeAndCompare(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, up: Tensor, initial: Tensor, units: Tensor, displacements: Tensor, gradient: LowRankGradient
    ) -> tuple[Tensor, Tensor]:
        count, params = len(codes) - len(displacements), up.shape[1]
        # G's lower rows hold what the reconstruction leaves until the way back.
        buffer = gradient.buffer(up, len(codes), params)
        vectors = up.new_empty(count, params)
        inner = up.new_zeros(len(displacements))
        for run in _runs(up):
            decoded = codes @ up[:, run]
            torch.addcmul(initial[run], decoded[:count], units[run], out=vectors[:, run])
            rest = torch.div(displacements[:, run], units[run], out=buffer[count:, run]).sub_(decoded[count:])
            inner += torch.linalg.vector_norm(rest, dim=1).square_()
        distances = inner.sqrt()
        ctx.save_for_backward(codes, up, units, distances)
        ctx.gradient, ctx.buffer = gradient, buffer
        return vectors, distances

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        codes, up, units, distances = ctx.saved_tensors
        count, buffer = len(codes) - len(distances), ctx.buffer
        factor = (-gradients[1] / distances.clamp_min(torch.finfo(distances.dtype).tiny)).unsqueeze(1)
        back, inner = torch.zeros_like(codes), codes.new_zeros(len(codes), len(codes))
        for run in _runs(up):
            part = buffer[:, run]
            torch.mul(gradients[0][:, run], units[run], out=part[:count])
            part[count:] *= factor
            back.addmm_(part, up[:, run].T)
            inner.addmm_(part, part.T)
        ctx.gradient.add(buffer, codes.detach(), inner)
        return back, None, None, None, None, None


def decode_and_compare(
    mixed: Float[Tensor, "m dim"],
    codes: Float[Tensor, "k dim"],
    up: Float[Tensor, "dim params"],
    initial: Float[Tensor, " params"],
    units: Float[Tensor, " params"],
    displacements: Float[Tensor, "k params"],
    gradient: LowRankGradient,
) -> tuple[Float[Tensor, "m params"], Float[Tensor, " k"]]:
    """`initial + (mixed @ up) * units`, and the lengths of `displacements / units - codes @ up`, from one pass over U.

    The backward pass may run once. It puts the gradient of U into `gradient`, as factors, and passes those of both codes on.
    """
    return _DecodeAndCompare.apply(torch.cat([mixed, codes]), up, initial, units, displacements, gradient)


class LowRankAdafactor(Adam):
    """Adam for tensors with ordinary gradients, Adafactor without momentum for those whose gradients come as factors.

    Args:
        values: all tensors that are trained.
        gradients: for each of them where the factors of its gradient are put, or None for an ordinary gradient.
    """

    def __init__(self, values: Sequence[Tensor], gradients: Sequence[LowRankGradient | None]) -> None:
        super().__init__([value for value, factors in zip(values, gradients, strict=True) if factors is None])
        self._large = [(value, factors) for value, factors in zip(values, gradients, strict=True) if factors is not None]
        self._moments = [
            {"params": value.new_zeros(value.shape[1]), "dims": value.new_zeros(len(value))} for value, _ in self._large
        ]
        self._steps = 0

    def _zero(self) -> None:
        super()._zero()
        for _, factors in self._large:
            factors.clear()

    def _gather(self, processes: Processes) -> None:
        super()._gather(processes)
        for _, factors in self._large:
            factors.gather(processes)

    def _norm(self) -> Tensor:
        # Of no tensors torch's norm is a number of the CPU, wherever the large ones are.
        squares = [super()._norm().square()] if self._values else []
        for _, factors in self._large:
            _, codes, inner = factors.joined()
            squares.append(_dot(inner, codes @ codes.T))
        return torch.stack(squares).sum().sqrt()

    @torch.no_grad()
    def _move(self, lr: float, scale: Tensor) -> None:
        super()._move(lr, scale)
        self._steps += 1
        decay = 1 - self._steps**-_DECAY
        for (value, factors), moments in zip(self._large, self._moments, strict=True):
            gradient, codes, inner = factors.joined()
            codes = codes * scale
            dim, size = value.shape
            # Means of the squared gradient over each column and each row, from its factors.
            mixing = codes @ codes.T / dim
            for run in _runs(value):
                part = gradient[:, run]
                columns = (mixing @ part).mul_(part).sum(0).clamp_min_(0)
                moments["params"][run].lerp_(columns + _EPSILON, 1 - decay)
            rows = (inner @ codes * codes).sum(0) / size
            moments["dims"].lerp_(rows.clamp_min(0) + _EPSILON, 1 - decay)
            # C^T G / sqrt(rows columns^T / mean(columns)) is again a product.
            codes = codes / moments["dims"].sqrt()
            mean, inner = moments["params"].mean(), torch.zeros_like(inner)
            for run in _runs(value):
                part = gradient[:, run].mul_((mean / moments["params"][run]).sqrt_())
                inner.addmm_(part, part.T)
            mean_square = _dot(inner, codes @ codes.T) / value.numel()
            codes *= lr / (mean_square.sqrt() / _LARGEST_UPDATE).clamp_min(1)
            value.addmm_(codes.T, gradient, alpha=-1)

    def state(self) -> dict[str, Tensor]:
        state = super().state() | {"large.steps": torch.tensor(self._steps)}
        for index, moments in enumerate(self._moments):
            state |= {f"large.{index}.{key}": tensor for key, tensor in moments.items()}
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self._steps = int(state["large.steps"])
        for index, moments in enumerate(self._moments):
            for key, tensor in moments.items():
                tensor.copy_(state[f"large.{index}.{key}"])


def _runs(up: Tensor) -> Iterator[slice]:
    size = up.shape[1]
    step = _RUN if up.device.type == "cpu" else size
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _dot(left: Float[Tensor, "k k"], right: Float[Tensor, "k k"]) -> Float[Tensor, ""]:
    # |C^T G|^2, without the product.
    return (left * right).sum().clamp_min(0)
