"""Where a target starts: in closed form at what it can have of a source that adds to weights, else at its initial vector.

A LoRA takes the truncated SVD of each weight's difference (Eckart & Young 1936), the best of its rank; fine-tuning all of it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import Finetune
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"
INITIAL = "its initial vector"
# Up to this width the whole SVD takes no time.
_WHOLE = 1024
_EXTRA, _ROUNDS = 8, 8


def closed_form(
    source: AttachedDelta, parameters: Float[Tensor, " params"], target: AttachedDelta
) -> tuple[Float[Tensor, " target_params"], str]:
    """The target's parameters that come nearest to the source, (m,), and how they were had.

    Args:
        source: the delta that is followed.
        parameters: of it, (n,).
        target: the delta that follows, on the same PLM.
    """
    modules = [name.removesuffix(_DOWN) for name, _ in target.layout.entries if name.endswith(_DOWN)]
    if not modules and not isinstance(target.delta, Finetune):
        return target.initial.clone(), INITIAL
    try:
        merged = dict(source.delta.merge(source, parameters).named_parameters())
    except DeltaspaceError:  # the source is no difference of weights
        return target.initial.clone(), INITIAL
    if isinstance(target.delta, Finetune):
        return target.layout.flatten(merged).detach().clone(), "the source's weights"
    parts = {name: part.clone() for name, part in target.layout.split(target.initial).items()}
    base = dict(source.backbone.model.named_parameters())
    for module in modules:
        difference = (merged[f"{module}.weight"] - base[f"{module}.weight"]).detach().float()
        layer = target.model.get_submodule(module)
        if layer.fan_in_fan_out:
            difference = difference.T
        if difference.any():
            down, up = _factors(difference, len(parts[module + _DOWN]))
            parts[module + _DOWN], parts[module + _UP] = down, up / layer.scaling["default"]
    return target.layout.flatten(parts), "the truncated SVD of the difference of the weights"


def _factors(matrix: Float[Tensor, "out inputs"], rank: int) -> tuple[Float[Tensor, "rank inputs"], Float[Tensor, "out rank"]]:
    """The nearest product of two matrices, both of like size; zeros beyond the matrix's own rank."""
    if min(matrix.shape) <= _WHOLE:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        right = right.T
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(matrix, rank + _EXTRA, niter=_ROUNDS)
    count = min(rank, len(values))
    roots = values[:count].sqrt()
    down, up = matrix.new_zeros(rank, matrix.shape[1]), matrix.new_zeros(len(matrix), rank)
    down[:count], up[:, :count] = roots.unsqueeze(1) * right[:, :count].T, left[:, :count] * roots
    return down, up
