"""The diagonal of a Fastfood transform that fits solutions best, in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.subspace.fitting.displacements import Displacements
from deltaspace.subspace.maps.hadamard import Hadamard, mixed, runs_of_blocks, walsh_hadamard


def fitted_diagonal(
    start: Hadamard, codes: Float[Tensor, "tasks dim"], displacements: Displacements
) -> Float[Tensor, "blocks width"]:
    """The diagonal G that takes codes as near to displacements as one diagonal can: least squares, entry by entry.

    V is linear in G and H is orthogonal up to its width, so that entry j of a block is a regression of the transformed
    displacements' entry j on that of P H B I over the tasks.
    """
    width, (_, size) = start.signs.shape[1], displacements.shape
    normal = torch.zeros_like(start.normal)
    for run in runs_of_blocks(start.normal, len(codes)):
        first, last = run.start * width, min(run.stop * width, size)
        targets = displacements.columns(first, last) / start.units[first:last]
        targets = pad(targets, (0, (run.stop - run.start) * width - targets.shape[1])).unflatten(1, (-1, width))
        transformed = mixed(codes, start.signs[run], start.order[run])
        wanted = walsh_hadamard(targets) / width**0.5
        tiny = torch.finfo(transformed.dtype).tiny
        normal[run] = (wanted * transformed).sum(0) / transformed.square().sum(0).clamp_min(tiny)
    return normal
