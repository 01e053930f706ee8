"""Linear maps of several tasks in one batch: each group of weights has its part of the batch, equal and consecutive."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def grouped_linear(hidden: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "*groups outputs inputs"]) -> Tensor:
    """`hidden` through one weight, (outputs, inputs), or through a weight for each group, (groups, outputs, inputs).

    Groups divide the first dimension of `hidden`; one batched product does all of them.
    """
    if weight.dim() == 2:
        return F.linear(hidden, weight)
    parts = hidden.reshape(len(weight), -1, hidden.shape[-1])
    return torch.bmm(parts, weight.mT).reshape(*hidden.shape[:-1], weight.shape[-2])


class GroupedLinear(nn.Linear):
    """A linear layer without bias whose weight may have groups."""

    def forward(self, hidden: Tensor) -> Tensor:
        return grouped_linear(hidden, self.weight)
