"""An input with all its candidates as one row: the input is read once, and no candidate sees another.

    row:       input tokens, candidate 1, candidate 2, …      (each candidate without its last token, which is only predicted)
    positions: 0 … p-1,      p, p+1 …,    p, p+1 …, …
    a token sees the input up to itself, and its own candidate up to itself

The first token of every candidate is predicted at the input's last token, so that its logits are computed once, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.families.batch import Inputs
from deltaspace.families.logits import logits_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pad = Callable[[list[list[int]], int], Tensor]
# Logits of one pass: bounds memory when a task has many labels (a quarter of a gigabyte, and as much again for their logarithms).
_LOGITS = 2**26
_INPUT, _PADDING = 0, -1

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Packed:
    """An input, and some of its candidates.

    Args:
        input_ids: tokens of the input, at least one.
        candidates: tokens of each candidate, with its number among all candidates of the input.
    """

    input_ids: list[int]
    candidates: list[tuple[int, list[int]]]

    def tokens(self) -> list[int]:
        """Of the row."""
        return [*self.input_ids, *(token for _, ids in self.candidates for token in ids[:-1])]

    def positions(self) -> list[int]:
        """Of the row's tokens in their own text."""
        begin = len(self.input_ids)
        return [*range(begin), *(begin + step for _, ids in self.candidates for step in range(len(ids) - 1))]

    def segments(self) -> list[int]:
        """What each of the row's tokens belongs to: the input, or a candidate by its number in this row."""
        of_candidates = (number for number, (_, ids) in enumerate(self.candidates, start=1) for _ in ids[:-1])
        return [_INPUT] * len(self.input_ids) + list(of_candidates)

    def kept(self) -> list[int]:
        """Where in the row tokens are predicted: at the input's last token and at all of the candidates'."""
        return list(range(len(self.input_ids) - 1, len(self.tokens())))

    def predicted(self) -> list[tuple[int, int, int]]:
        """What is predicted: the candidate's number, which of `kept` predicts it, and the token."""
        triples, begin = [], 1
        for number, ids in self.candidates:
            triples += [(number, 0 if step == 0 else begin + step - 1, token) for step, token in enumerate(ids)]
            begin += len(ids) - 1
        return triples


def packed_scores(
    model: PreTrainedModel, items: Sequence[tuple[list[int], list[list[int]]]], vocabulary: int, pad: Pad
) -> Float[Tensor, "batch candidates"]:
    """Mean log-likelihood of each candidate's tokens behind its input; -inf where an input has fewer candidates than others.

    Args:
        model: a causal language model with a delta applied.
        items: tokens of each input and of its candidates.
        vocabulary: how many logits a token has.
        pad: makes a tensor on the model's device of lists, with what stands behind the shorter ones.
    """
    total: Tensor | None = None
    for rows in _passes(items, max(2, _LOGITS // (vocabulary * len(items)))):
        part = _summed(model, rows, max(len(candidates) for _, candidates in items), pad)
        total = part if total is None else total + part
    assert total is not None  # every input has a candidate
    counts = pad([[len(ids) for ids in candidates] for _, candidates in items], 0)
    return (total / counts.clamp(min=1)).masked_fill(counts == 0, float("-inf"))


def _passes(items: Sequence[tuple[list[int], list[list[int]]]], most: int) -> list[list[Packed]]:
    """Rows of one or more passes, each with all inputs and at most so many predictions for each (one candidate at least)."""
    parts: list[list[list[tuple[int, list[int]]]]] = []
    for _, candidates in items:
        mine: list[list[tuple[int, list[int]]]] = [[]]
        size = 1
        for number, ids in enumerate(candidates):
            if mine[-1] and size + len(ids) - 1 > most:
                mine.append([])
                size = 1
            mine[-1].append((number, ids))
            size += len(ids) - 1
        parts.append(mine)
    count = max(map(len, parts))
    # All inputs are in every pass: a delta with several vectors divides its rows into equal parts.
    return [
        [Packed(ids, mine[turn] if turn < len(mine) else []) for (ids, _), mine in zip(items, parts, strict=True)]
        for turn in range(count)
    ]


def _summed(model: PreTrainedModel, rows: list[Packed], width: int, pad: Pad) -> Float[Tensor, "batch candidates"]:
    """Sum of the log-likelihoods of each candidate's tokens; 0 for those that are not in these rows."""
    segments = pad([row.segments() for row in rows], _PADDING)
    length = segments.shape[1]
    same = (segments.unsqueeze(1) == _INPUT) | (segments.unsqueeze(1) == segments.unsqueeze(2))
    sees = same & torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    inputs = Inputs(pad([row.tokens() for row in rows], 0), sees.unsqueeze(1))
    kept = pad([row.kept() for row in rows], 0)
    logits = logits_at(model, inputs, kept, position_ids=pad([row.positions() for row in rows], 0)).float()
    predicted = [row.predicted() for row in rows]
    numbers, at, tokens = (pad([[triple[which] for triple in row] for row in predicted], 0) for which in range(3))
    there = pad([[1] * len(row) for row in predicted], 0)
    index = torch.arange(len(rows), device=logits.device).unsqueeze(1)
    likelihoods = logits.log_softmax(-1)[index, at, tokens] * there
    # One candidate after the other, so that sums are the same on every device.
    return torch.stack([(likelihoods * (numbers == number)).sum(1) for number in range(width)], dim=1)
