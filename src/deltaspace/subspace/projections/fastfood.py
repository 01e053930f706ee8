"""Fastfood subspaces: Le et al. 2013 (arXiv 1408.3060), section 3; for intrinsic dimensions Aghajanyan et al. 2020 (2012.13255).

Random directions that are never stored: with p the power of two from d on, n / p blocks (rounded up) of

    V = 1 / sqrt(p) H G P H B

stand below each other. B: random signs; P: a permutation; G: normal entries, each (p,); H: the Walsh-Hadamard transform.
Decoding takes n log p operations and the projection holds 3 n numbers, whatever d is. Needs no solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.subspace.projections.projection import Decomposition, Projection
from deltaspace.subspace.projections.rows import Rows


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

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        width = self.signs.shape[1]
        padded = torch.nn.functional.pad(codes, (0, width - codes.shape[1]))
        mixed = walsh_hadamard(padded.unsqueeze(1) * self.signs)
        permuted = mixed.gather(2, self.order.expand(len(codes), -1, -1))
        out = walsh_hadamard(permuted * self.normal) / width**0.5
        return out.flatten(1)[:, : len(self.units)] * self.units

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        blocks, width = self.signs.shape
        padded = torch.nn.functional.pad(displacements / self.units, (0, blocks * width - len(self.units)))
        back = walsh_hadamard(padded.unflatten(1, (blocks, width))) * self.normal / width**0.5
        undone = torch.zeros_like(back).scatter(2, self.order.expand(len(back), -1, -1), back)
        return ((walsh_hadamard(undone) * self.signs).sum(1) / len(self.units))[:, : int(self.dim)]

    def tensors(self) -> dict[str, Tensor]:
        return {"units": self.units, "signs": self.signs, "order": self.order, "normal": self.normal, "dim": self.dim}


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

    def make(self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int) -> list[Projection]:
        generator = torch.Generator().manual_seed(seed)
        width = 1 << (dim - 1).bit_length()
        found: list[Projection] = []
        for displacement, own in zip(displacements, sizes, strict=True):
            device = displacement.device
            blocks = -(-displacement.shape[1] // width)
            signs = torch.randint(2, (blocks, width), generator=generator) * 2.0 - 1
            order = torch.rand(blocks, width, generator=generator).argsort(dim=1)
            normal = torch.randn(blocks, width, generator=generator)
            drawn = [tensor.to(device) for tensor in (signs, order, normal, torch.tensor(dim))]
            found.append(Hadamard(self.units(displacement, own), *drawn))
        return found
