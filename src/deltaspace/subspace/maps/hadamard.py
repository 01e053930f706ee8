"""Structured directions that are never stored: Le et al. 2013 (arXiv 1408.3060), section 3.

With p the power of two from d on, n / p blocks (rounded up) of

    V = 1 / sqrt(p) H G P H B

stand below each other. B: random signs; P: a permutation; G: normal entries, each (p,); H: the Walsh-Hadamard transform.
Decoding takes n log p operations and the map holds 3 n numbers, whatever d is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.subspace.maps.map import Map
from deltaspace.subspace.maps.registry import MAPS

# Numbers that are transformed at once on a CPU.
_RUN = 1 << 18


@MAPS.register
@dataclass
class Hadamard(Map):
    """up(I) = units * V I; down is its transpose, scaled so that it inverts on average.

    Args:
        units: see `Map`.
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


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, normal: Tensor, signs: Tensor, order: Tensor, size: int) -> Tensor:
        width = signs.shape[1]
        out = codes.new_empty(len(codes), size)
        for run in runs_of_blocks(normal, len(codes)):
            blocks = walsh_hadamard(mixed(codes, signs[run], order[run]) * normal[run]) / width**0.5
            first, last = run.start * width, min(run.stop * width, size)
            out[:, first:last] = blocks.flatten(1)[:, : last - first]
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
        for run in runs_of_blocks(normal, len(codes)):
            first, last = run.start * width, min(run.stop * width, size)
            padded = pad(gradient[:, first:last], (0, (run.stop - run.start) * width - (last - first)))
            blocks = walsh_hadamard(padded.unflatten(1, (-1, width))) / width**0.5
            if to_normal is not None:
                to_normal[run] = (blocks * mixed(codes, signs[run], order[run])).sum(0)
            blocks = blocks * normal[run]
            undone = torch.empty_like(blocks).scatter_(2, order[run].expand(len(blocks), -1, -1), blocks)
            back += (walsh_hadamard(undone) * signs[run]).sum(1)
        return back[:, : codes.shape[1]], to_normal, None, None, None


def mixed(codes: Tensor, signs: Tensor, order: Tensor) -> Tensor:
    """P H B I, (rows, blocks, width)."""
    padded = pad(codes, (0, signs.shape[1] - codes.shape[1]))
    return walsh_hadamard(padded.unsqueeze(1) * signs).gather(2, order.expand(len(codes), -1, -1))


def runs_of_blocks(normal: Tensor, rows: int) -> Iterator[slice]:
    """Blocks in runs; on a CPU what is transformed at once stays in its cache."""
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
