"""Fastfood subspaces: Le et al. 2013 (arXiv 1408.3060), section 3; for intrinsic dimensions Aghajanyan et al. 2020 (2012.13255).

Random directions that are never stored: with p the power of two from d on, n / p blocks (rounded up) of

    V = 1 / sqrt(p) H G P H B

stand below each other. B: random signs; P: a permutation; G: normal entries, each (p,); H: the Walsh-Hadamard transform.
Decoding takes n log p operations and the projection holds 3 n numbers, whatever d is. Needs no solutions. Where G is learned,
this is how arXiv 2210.13311, section 3, ties fine-tuning to the same codes as the other deltas (`trainable.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.displacements import Rows

# Numbers that are transformed at once on a CPU.
_RUN = 1 << 18


@dataclass
class Hadamard(Projection):
    """up(I) = units * V I; down is its transpose, scaled so that it inverts on average.

    Args:
        units: see `Projection`.
        signs: B, (blocks, p).
        order: P, (blocks, p).
        normal: G, (blocks, p).
        dim: d, a tensor of no dimensions.
    """

    kind: ClassVar[str] = "hadamard"

    units: Float[Tensor, " params"]
    signs: Float[Tensor, "blocks width"]
    order: Int[Tensor, "blocks width"]
    normal: Float[Tensor, "blocks width"]
    dim: Int[Tensor, ""]

    @classmethod
    def drawn(cls, units: Float[Tensor, " params"], dim: int, generator: torch.Generator) -> Hadamard:
        """B, P and G from the generator."""
        width = 1 << (dim - 1).bit_length()
        blocks = -(-len(units) // width)
        signs = torch.randint(2, (blocks, width), generator=generator) * 2.0 - 1
        order = torch.rand(blocks, width, generator=generator).argsort(dim=1)
        normal = torch.randn(blocks, width, generator=generator)
        return cls(units, *[tensor.to(units.device) for tensor in (signs, order, normal, torch.tensor(dim))])

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return transformed(codes, self.normal, self.signs, self.order, len(self.units)) * self.units

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        with torch.enable_grad():
            # What goes back through V is V^T.
            codes = displacements.new_zeros(len(displacements), int(self.dim), requires_grad=True)
            out = transformed(codes, self.normal, self.signs, self.order, len(self.units))
        [back] = torch.autograd.grad(out, codes, displacements / self.units)
        return back / len(self.units)

    def tensors(self) -> dict[str, Tensor]:
        return {"units": self.units, "signs": self.signs, "order": self.order, "normal": self.normal, "dim": self.dim}


def transformed(
    codes: Float[Tensor, "rows dim"],
    normal: Float[Tensor, "blocks width"],
    signs: Float[Tensor, "blocks width"],
    order: Int[Tensor, "blocks width"],
    size: int,
) -> Float[Tensor, "rows params"]:
    """The first `size` entries of V I for every code I; gradients flow into the codes and into G, `normal`.

    Blocks are taken some at a time, so that beside the result only what fits a processor's cache is ever made.
    """
    return _Transform.apply(codes, normal, signs, order, size)


def fitted(start: Hadamard, codes: Float[Tensor, "tasks dim"], displacements: Rows) -> Float[Tensor, "blocks width"]:
    """The diagonal G that takes codes as near to displacements as one diagonal can: least squares, entry by entry.

    V is linear in G and H is orthogonal up to its width, so that entry j of a block is a regression of the transformed
    displacements' entry j on that of P H B I over the tasks.
    """
    width, (_, size) = start.signs.shape[1], displacements.shape
    normal = torch.zeros_like(start.normal)
    for run in _runs(start.normal, len(codes)):
        first, last = run.start * width, min(run.stop * width, size)
        targets = displacements.columns(first, last) / start.units[first:last]
        targets = pad(targets, (0, (run.stop - run.start) * width - targets.shape[1])).unflatten(1, (-1, width))
        mixed = _mixed(codes, start.signs[run], start.order[run])
        wanted = walsh_hadamard(targets) / width**0.5
        tiny = torch.finfo(mixed.dtype).tiny
        normal[run] = (wanted * mixed).sum(0) / mixed.square().sum(0).clamp_min(tiny)
    return normal


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, normal: Tensor, signs: Tensor, order: Tensor, size: int) -> Tensor:
        width = signs.shape[1]
        out = codes.new_empty(len(codes), size)
        for run in _runs(normal, len(codes)):
            own = walsh_hadamard(_mixed(codes, signs[run], order[run]) * normal[run]) / width**0.5
            first, last = run.start * width, min(run.stop * width, size)
            out[:, first:last] = own.flatten(1)[:, : last - first]
        ctx.save_for_backward(codes, normal, signs, order)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        codes, normal, signs, order = ctx.saved_tensors
        width, size = signs.shape[1], gradient.shape[1]
        back, to_normal = codes.new_zeros(len(codes), width), None
        if ctx.needs_input_grad[1]:
            to_normal = torch.empty_like(normal)
        for run in _runs(normal, len(codes)):
            first, last = run.start * width, min(run.stop * width, size)
            own = pad(gradient[:, first:last], (0, (run.stop - run.start) * width - (last - first))).unflatten(1, (-1, width))
            own = walsh_hadamard(own) / width**0.5
            if to_normal is not None:
                to_normal[run] = (own * _mixed(codes, signs[run], order[run])).sum(0)
            own = own * normal[run]
            undone = torch.empty_like(own).scatter_(2, order[run].expand(len(own), -1, -1), own)
            back += (walsh_hadamard(undone) * signs[run]).sum(1)
        return back[:, : codes.shape[1]], to_normal, None, None, None


def _mixed(codes: Tensor, signs: Tensor, order: Tensor) -> Tensor:
    """P H B I, (rows, blocks, width)."""
    padded = pad(codes, (0, signs.shape[1] - codes.shape[1]))
    return walsh_hadamard(padded.unsqueeze(1) * signs).gather(2, order.expand(len(codes), -1, -1))


def _runs(normal: Tensor, rows: int) -> Iterator[slice]:
    blocks, width = normal.shape
    step = max(1, _RUN // (width * max(1, rows))) if normal.device.type == "cpu" else blocks
    for start in range(0, blocks, step):
        yield slice(start, min(start + step, blocks))


def walsh_hadamard(values: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    """The Walsh-Hadamard transform of the last dimension, a power of two: entries of H are 1 and -1; H H = width."""
    width = values.shape[-1]
    if width & (width - 1):
        raise ValueError(f"the Walsh-Hadamard transform needs a power of two, not {width}")
    span = 1
    while span < width:
        pairs = values.unflatten(-1, (width // (2 * span), 2, span))
        first, second = pairs.unbind(-2)
        values = torch.stack([first + second, first - second], dim=-2).flatten(-3)
        span *= 2
    return values


class Fastfood(Decomposition):
    """Structured random directions, for sizes at which a Gaussian matrix does not fit."""

    name: ClassVar[str] = "fastfood"
    source: ClassVar[str] = "https://arxiv.org/abs/1408.3060"
    summary: ClassVar[str] = "structured random directions (H G P H B) that are never stored; needs no solutions"
    needs_solutions: ClassVar[bool] = False

    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        generator = torch.Generator().manual_seed(seed)
        return [Hadamard.drawn(self.units(rows, own), dim, generator) for rows, own in zip(displacements, sizes, strict=True)]
