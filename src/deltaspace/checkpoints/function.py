"""A delta's function as it is followed by another: what the PLM decides, in all states in which it decides something.

Told from `Family.decision`. A model that writes decides at every token, behind what it may have written so far: of a ranked task
the beginnings of the candidates, else what it writes itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item
from deltaspace.memory import check_fits

# Texts in one pass.
_PASS = 64
# Of a distribution over a whole vocabulary so many of the likeliest are kept apart, all others as one.
_KEPT = 256
# Of a written answer so many tokens are followed.
_TOKENS = 8
_TINY = 1e-12
# Of a sum of probabilities in fp32 less is noise, and the root's slope there without bounds.
_REST = 1e-6


@dataclass(frozen=True)
class Function:
    """Decisions of a delta on some items, kept.

    Args:
        values: features of each decision, (items, kept).
        indices: which features these are, where not all are kept.
    """

    values: Float[Tensor, "items kept"]
    indices: Int[Tensor, "items kept"] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, chosen: Sequence[int]) -> Function:
        """That on some of the items."""
        index = torch.tensor(chosen, device=self.values.device)
        return Function(self.values[index], None if self.indices is None else self.indices[index])

    def distance(self, decided: Float[Tensor, "items features"]) -> Float[Tensor, " items"]:
        """The squared distance of others' decisions, all features, on the same items; what is not kept counts as one feature."""
        return (self._same_features(decided) - self._whole()).square().sum(1)

    def divergence(self, decided: Float[Tensor, "items features"]) -> Float[Tensor, " items"]:
        """KL from other distributions on the same items, in nats; features are square roots of probabilities."""
        wanted, given = self._whole().square(), self._same_features(decided).square()
        return (wanted * (wanted.clamp_min(_TINY).log() - given.clamp_min(_TINY).log())).sum(1)

    def likeliest(self) -> Int[Tensor, " items"]:
        """The feature that is largest in each decision."""
        first = self.values.argmax(1)
        return first if self.indices is None else self.indices.gather(1, first.unsqueeze(1)).squeeze(1)

    def _whole(self) -> Tensor:
        return self.values if self.indices is None else _with_rest(self.values)

    def _same_features(self, decided: Tensor) -> Tensor:
        return decided if self.indices is None else _with_rest(decided.gather(1, self.indices))


def _with_rest(kept: Tensor) -> Tensor:
    """Roots of probabilities with the root of what is left of 1."""
    rest = (1 - kept.square().sum(1, keepdim=True)).clamp_min(_REST).sqrt()
    return torch.cat([kept, rest], dim=1)


@torch.no_grad()
def function_of(attached: AttachedDelta, parameters: Float[Tensor, " params"], items: Sequence[Item]) -> Function:
    """What a delta decides on items, in their order.

    Raises:
        DeltaspaceError: this does not fit into memory.
    """
    whole = not distributions(attached)
    parts: list[Function] = []
    order = by_length(items)
    for _, decided in decisions_on(attached, parameters, items):
        if whole or decided.shape[1] <= _KEPT:
            parts.append(Function(decided))
        else:
            largest = decided.topk(_KEPT, dim=1)
            parts.append(Function(largest.values, largest.indices))
        if len(parts) == 1:
            count = 2 * len(items) * parts[0].values.shape[1]
            check_fits("what the source computes", count, "give fewer inputs", attached.backbone.device)
    back = torch.tensor(order).argsort()
    values = torch.cat([part.values for part in parts])[back]
    indices = [part.indices for part in parts if part.indices is not None]
    return Function(values, torch.cat(indices)[back] if indices else None)


@torch.no_grad()
def decisions_on(
    attached: AttachedDelta, parameters: Float[Tensor, " params"], items: Sequence[Item]
) -> Iterator[tuple[list[int], Float[Tensor, "chosen features"]]]:
    """Positions of some items, in the order of `by_length`, with what a delta decides on them, until all are done."""
    order = by_length(items)
    for start in range(0, len(order), _PASS):
        chosen = order[start : start + _PASS]
        yield chosen, attached.decision(parameters, attached.backbone.family.collate([items[index] for index in chosen]))


def distributions(attached: AttachedDelta) -> bool:
    """Whether decisions are square roots of probabilities; else they are embeddings."""
    return attached.backbone.family.decides_by != "embedding"


def by_length(items: Sequence[Item]) -> list[int]:
    """Positions of the items, those of like length together: what is padded is computed."""
    return sorted(range(len(items)), key=lambda index: len(items[index].input_ids))


def states_of(attached: AttachedDelta, parameters: Float[Tensor, " params"], items: Sequence[Item]) -> list[Item]:
    """All states in which the delta decides something on the items, behind what it writes itself; see the top of this file."""
    written = attached.written(parameters, items, _TOKENS)
    return [state for states in attached.backbone.family.states(written) for state in states]
