"""APET, arbitrary parameters: Su et al. 2023 (arXiv 2306.02320), section 3: a random set of entries of the PLM's own weights.

    W <- W + sum_j v_j e_row(j) e_col(j)^T

Positions are drawn uniformly, without replacement, over all linear layers of the PLM; v, (count,), starts at zero. The update is
never made as a matrix: of y = W x only the entries row(j) get v_j x_col(j) more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


class Apet(Delta):
    """Arbitrary entries of the PLM's linear layers, at random positions."""

    name: ClassVar[str] = "apet"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2306.02320"

    count: int = Field(65_536, ge=1, description="how many entries")

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        # Here, because it imports much of transformers, which reading a recipe does not need.
        from transformers.pytorch_utils import Conv1D

        # What no task's output depends on, or on which frozen label words are scored.
        left_out = [model.get_output_embeddings(), *(getattr(model, "pooler", None) or nn.Module()).modules()]
        places = [
            (name, module)
            for name, module in model.named_modules()
            if type(module) in (nn.Linear, Conv1D) and not any(module is other for other in left_out)
        ]
        sizes = [module.weight.numel() for _, module in places]
        if self.count > sum(sizes):
            raise DeltaspaceError(
                f"apet: {backbone.name} has too few weights",
                found=f"{sum(sizes):,} in its linear layers",
                expected=f"at least {self.count:,}, the count asked for",
                mend="lower it: {apet: {count: …}}",
            )
        # numpy draws without replacement in memory of the count alone.
        draws = np.random.default_rng(int(torch.randint(2**62, ())))
        positions = torch.from_numpy(np.sort(draws.choice(sum(sizes), self.count, replace=False, shuffle=False)))
        names, end = [], 0
        for (name, module), size in zip(places, sizes, strict=True):
            start, end = end, end + size
            own = positions[(positions >= start) & (positions < end)] - start
            if len(own):
                # transformers' Conv1D keeps its weight as (inputs, outputs).
                module.apet = Entries(own, module.weight, transposed=isinstance(module, Conv1D))
                module.register_forward_hook(_through_entries)
                names.append(f"{name}.apet.values")
        return model, names


class Entries(nn.Module):
    """Some entries of one layer's weight.

    Args:
        positions: (count,), into the weight as (outputs, inputs), row by row.
        weight: of the layer.
        transposed: whether the layer keeps its weight as (inputs, outputs).
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, positions: Tensor, weight: Tensor, *, transposed: bool) -> None:
        super().__init__()
        self._transposed = transposed
        inputs = weight.shape[0] if transposed else weight.shape[1]
        self.register_buffer("rows", (positions // inputs).to(weight.device))
        self.register_buffer("columns", (positions % inputs).to(weight.device))
        self.values = nn.Parameter(torch.zeros(len(positions), device=weight.device))

    def positions(self) -> tuple[Tensor, Tensor]:
        """Indices of the entries into the layer's own weight."""
        return (self.columns, self.rows) if self._transposed else (self.rows, self.columns)

    def forward(self, hidden: Tensor, output: Tensor) -> Tensor:
        values = self.values.to(hidden.dtype)
        if values.dim() == 2:
            # A set for each group: group g is the g-th of equal consecutive parts of the batch.
            values = values.repeat_interleave(len(hidden) // len(values), dim=0)
            values = values.unflatten(0, (-1, *(1,) * (hidden.dim() - 2)))
        return output.index_add(-1, self.rows, (hidden[..., self.columns] * values).to(output.dtype))


def _through_entries(module: Any, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.apet(arguments[0], output)
