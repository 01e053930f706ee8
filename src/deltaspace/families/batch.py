"""What passes between a family and whoever trains or scores: encoded examples, a padded batch of them, and its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One encoded example; every family has a class of its own, with what it needs besides.

    Args:
        input_ids: the tokens of the input with its prompt, cut to the family's `max_length`.
    """

    input_ids: list[int]

    @property
    def length(self) -> int:
        """How many tokens a model reads to score it."""
        return len(self.input_ids)


class Inputs(NamedTuple):
    """Padded texts, as every PLM takes them."""

    input_ids: Int[Tensor, "batch tokens"]
    attention_mask: Int[Tensor, "batch tokens"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Padded items on the PLM's device; every family has a class of its own, with the tensors that it needs.

    Args:
        items: what it was made from, in the order of its rows.
    """

    items: Sequence[Item]


class Evaluation(NamedTuple):
    """Predictions (a text for each example) and losses (a number for each, in nats) of a batch."""

    predictions: list[str]
    losses: Float[Tensor, " batch"]


def joined_rows(parts: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "rows features"]:
    """Decisions or answers of several batches, one below the other, as if of one batch: what only longer answers have is 0."""
    widest = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, widest - part.shape[1])) for part in parts])
