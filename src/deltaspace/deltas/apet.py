"""APET, arbitrary parameters: Su et al. 2023 (arXiv 2306.02320), section 3: a random set of entries of the PLM's own weights.

    W <- W + sum_j v_j e_row(j) e_col(j)^T

Positions are drawn uniformly, without replacement, over all linear layers of the PLM; v, (count,), starts at zero. The update is
never made as a matrix: of y = W x only the entries row(j) get v_j x_col(j) more.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


# Ends the name of a layer's entries in the layout.
_VALUES = ".apet.values"


@DELTAS.register
class Apet(Delta):
    """Arbitrary entries of the PLM's linear layers, at random positions."""

    name: ClassVar[str] = "apet"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2306.02320"

    count: int = Field(default=65_536, ge=1, description="how many entries")

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        # Here, because it imports much of transformers, which reading a recipe does not need.
        from transformers.pytorch_utils import Conv1D

        # The output embeddings, by which frozen label words are scored, and the pooler, on which no task's output depends.
        left_out = [model.get_output_embeddings(), *(getattr(model, "pooler", None) or nn.Module()).modules()]
        layers = [
            (name, module)
            for name, module in model.named_modules()
            if type(module) in (nn.Linear, Conv1D) and not any(module is other for other in left_out)
        ]
        sizes = [module.weight.numel() for _, module in layers]
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
        for (name, module), size in zip(layers, sizes, strict=True):
            start, end = end, end + size
            inside = positions[(positions >= start) & (positions < end)] - start
            if len(inside):
                # transformers' Conv1D keeps its weight as (inputs, outputs).
                module.apet = Entries(inside, module.weight, transposed=isinstance(module, Conv1D))
                module.register_forward_hook(_through_entries)
                names.append(f"{name}{_VALUES}")
        return model, names

    @torch.no_grad()
    def merge(self, attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> PreTrainedModel:
        model = copy.deepcopy(attached.backbone.model)
        for name, values in attached.layout.split(parameters).items():
            layer = name.removesuffix(_VALUES)
            entries, weight = attached.model.get_submodule(layer).apet, model.get_submodule(layer).weight
            assert isinstance(entries, Entries)
            weight.index_put_(entries.positions(), values.to(weight), accumulate=True)
        return model


class Entries(nn.Module):
    """Some entries of one layer's weight.

    Args:
        positions: (count,), into the weight as (outputs, inputs), row by row.
        weight: of the layer, (outputs, inputs) or its transpose.
        transposed: whether the layer keeps its weight as (inputs, outputs).
    """

    rows: Int[Tensor, " count"]
    columns: Int[Tensor, " count"]

    def __init__(self, positions: Int[Tensor, " count"], weight: Float[Tensor, "_ _"], *, transposed: bool) -> None:
        super().__init__()
        self._transposed = transposed
        inputs = weight.shape[0] if transposed else weight.shape[1]
        self.register_buffer("rows", (positions // inputs).to(weight.device))
        self.register_buffer("columns", (positions % inputs).to(weight.device))
        self.values = nn.Parameter(torch.zeros(len(positions), device=weight.device))

    def positions(self) -> tuple[Int[Tensor, " count"], Int[Tensor, " count"]]:
        """Indices of the entries into the weight as the layer keeps it."""
        return (self.columns, self.rows) if self._transposed else (self.rows, self.columns)

    def forward(
        self, hidden: Float[Tensor, "*batch inputs"], output: Float[Tensor, "*batch outputs"]
    ) -> Float[Tensor, "*batch outputs"]:
        """The layer's output with what the entries add to it for its input."""
        values = self.values.to(hidden.dtype)
        if values.dim() == 2:
            # A set for each group: group g is the g-th of equal consecutive parts of the batch.
            values = values.repeat_interleave(len(hidden) // len(values), dim=0)
            values = values.unflatten(0, (-1, *(1,) * (hidden.dim() - 2)))
        return output.index_add(-1, self.rows, (hidden[..., self.columns] * values).to(output.dtype))


def _through_entries(module: Any, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.apet(arguments[0], output)
