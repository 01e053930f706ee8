"""The SVD of each tensor of one delta apart, in closed form: a task has codes of its own for each of them.

The d largest singular values of all tensors together decide how many directions each of them gets: of all choices of d
directions, each within one tensor, these leave the least squared error (Eckart & Young 1936, in each tensor). The columns of one
tensor are held at a time, so that there may be thousands of tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps.blocks import Blocks


def layered(source: Source, units: Float[Tensor, " params"], dim: int) -> Blocks:
    """The map of one delta.

    Args:
        source: its solutions.
        units: of its displacements.
        dim: d, directions of all tensors together.
    """
    values = [_spectrum(part)[0].flip(0)[: min(part.shape)] for _, _, part in _columns(source, units)]
    block = torch.cat([torch.full_like(part, index) for index, part in enumerate(values)])
    chosen = torch.cat(values).argsort(descending=True, stable=True)[:dim]
    counts = torch.bincount(block[chosen].long(), minlength=len(values))
    bases = []
    for (_, _, part), count in zip(_columns(source, units), counts.tolist(), strict=True):
        vectors = _spectrum(part)[1].flip(1)[:, :count].to(part.dtype)
        bases.append((vectors.T @ part).reshape(-1))
    edges = torch.tensor([0, *torch.tensor(list(source.blocks)).cumsum(0).tolist()], device=units.device)
    return Blocks(units, edges, counts.to(units.device), torch.cat(bases))


def _columns(source: Source, units: Float[Tensor, " params"]) -> Iterator[tuple[int, int, Float[Tensor, "tasks size"]]]:
    """Each tensor's part of the displacements, in their units."""
    start = 0
    for size in source.blocks:
        yield start, start + size, source.displacements.columns(start, start + size) / units[start : start + size]
        start += size


def _spectrum(part: Float[Tensor, "tasks size"]) -> tuple[Float[Tensor, " tasks"], Float[Tensor, "tasks tasks"]]:
    """Squared singular values in ascending order, and left singular vectors; fp64."""
    doubled = part.double()
    values, vectors = torch.linalg.eigh(doubled @ doubled.T)
    return values.clamp_min(0), vectors
