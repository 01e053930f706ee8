"""Batches that depend on a seed and a step alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch

from deltaspace.families import Item

# Batches are formed of inputs of similar length within this many batches of shuffled examples: less padding.
_POOL = 16

AnyItem = TypeVar("AnyItem", bound=Item)


class Batches(Generic[AnyItem]):
    """An endless, shuffled stream of batches that depends on the seed and the step alone, so that a resumed run sees the same.

    Args:
        items: what they are made of.
        size: of each; as many as there are, where these are fewer.
        seed: decides the order.
        full: take fewer items several times instead: batches that are put together have equal parts.
    """

    def __init__(self, items: Sequence[AnyItem], size: int, seed: int, *, full: bool = False) -> None:
        self._items = list(items) * -(-size // len(items)) if full and len(items) < size else items
        self._size = min(size, len(self._items))
        self._seed = seed
        self._epoch = -1
        self._order: list[list[int]] = []

    @property
    def size(self) -> int:
        """How many items each has."""
        return self._size

    def at(self, step: int) -> list[AnyItem]:
        """The items of a step (from 0)."""
        per_epoch = len(self._items) // self._size
        epoch, position = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch, per_epoch)
        return [self._items[index] for index in self._order[position]]

    def _shuffled(self, epoch: int, count: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed((self._seed + epoch) % 2**63)
        order = torch.randperm(len(self._items), generator=generator).tolist()
        pool = self._size * _POOL
        batches: list[list[int]] = []
        for start in range(0, count * self._size, pool):
            part = sorted(order[start : min(start + pool, count * self._size)], key=lambda i: len(self._items[i].input_ids))
            batches += [part[i : i + self._size] for i in range(0, len(part), self._size)]
        return [batches[i] for i in torch.randperm(count, generator=generator).tolist()]
