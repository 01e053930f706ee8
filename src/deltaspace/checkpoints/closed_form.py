"""Where a target may start: in closed form at what it can have of a source.

Of a source that adds to weights a LoRA takes the truncated SVD of each weight's difference (Eckart & Young 1936), the best of its
rank; fine-tuning all of it. Of any source, a LoRA may take what does likewise at the ends of sublayers (`least_squares.py`): all
there is of one that adds to no weights, and nearer to one whose differences are of many ranks, such as IA3's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.checkpoints.least_squares import sublayer_updates
from deltaspace.deltas import Finetune
from deltaspace.deltas.adapter import SUBLAYERS, sublayer_ends
from deltaspace.deltas.checkpoint import UnmergeableError
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"
# Up to this width the whole SVD takes no time.
_WHOLE = 1024
_EXTRA, _ROUNDS = 8, 8


def closed_forms(
    source: tuple[AttachedDelta, Float[Tensor, " params"]], target: AttachedDelta, items: Sequence[Item]
) -> Iterator[tuple[Float[Tensor, " target_params"], str]]:
    """Parameters of the target, (m,), that come near to the source in one way or another, and how they were had.

    Args:
        source: the delta that is followed, and its parameters, (n,).
        target: the delta that follows, on the same PLM.
        items: encoded inputs, which only the last way runs the source on.
    """
    ranks = {name.removesuffix(_DOWN): shape[0] for name, shape in target.layout.entries if name.endswith(_DOWN)}
    if not ranks and not isinstance(target.delta, Finetune):
        return
    if (merged := _merged(*source)) is not None:
        if isinstance(target.delta, Finetune):
            yield target.layout.flatten(merged).detach().clone(), "the source's weights"
            return
        base = dict(target.backbone.model.named_parameters())
        updates = {}
        for module in ranks:
            difference = (merged[f"{module}.weight"] - base[f"{module}.weight"]).detach().float()
            updates[module] = difference.T if target.model.get_submodule(module).fan_in_fan_out else difference
        yield _as_lora(target, updates), "the truncated SVD of the difference of the weights"
    model = target.backbone.model
    ends = sublayer_ends(model, SUBLAYERS.get(model.config.model_type, ()))
    if fitted := {end: ranks[end] for end in ends if end in ranks}:
        yield _as_lora(target, sublayer_updates(source, target, ends, fitted, items)), "least squares of the sublayers' outputs"


def _merged(attached: AttachedDelta, parameters: Tensor) -> dict[str, Tensor] | None:
    """The PLM's weights with the delta's in them; None where it adds to no weights."""
    try:
        return dict(attached.delta.merge(attached, parameters).named_parameters())
    except UnmergeableError:
        return None


def _as_lora(target: AttachedDelta, updates: dict[str, Float[Tensor, "out inputs"]]) -> Float[Tensor, " params"]:
    """The LoRA that adds these to its modules' weights, each in its rank."""
    parts = {name: part.clone() for name, part in target.layout.split(target.initial).items()}
    for module, update in updates.items():
        if update.any():
            down, up = _factors(update, len(parts[module + _DOWN]))
            parts[module + _DOWN], parts[module + _UP] = down, up / target.model.get_submodule(module).scaling["default"]
    return target.layout.flatten(parts)


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
