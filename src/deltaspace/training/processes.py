"""Several processes that train one thing together, as `accelerate launch` starts them: each has a share of every step's batches.

A step's gradient is the mean over its `accumulate` batches, whichever process has them; all processes add up the same gradients
and take the same step. What is drawn depends on a batch's number alone, so that N processes do what one process does, up to the
order in which numbers are added.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from deltaspace.errors import DeltaspaceError

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Processes:
    """Those that train together.

    Args:
        rank: of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def launched(cls) -> Processes:
        """Those of torch's default group, which accelerate makes when a PLM is loaded; this one alone where there is none."""
        if distributed.is_available() and distributed.is_initialized():
            _leave_in_the_end()
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """Whether this one tells the others, and writes."""
        return self.rank == 0

    def check(self, batches: int) -> None:
        """Raise DeltaspaceError unless so many batches of a step can be shared equally."""
        if batches % self.count:
            raise DeltaspaceError(
                f"{self.count} processes cannot share the {batches} batches of a step",
                expected=f"a multiple of {self.count} for accumulate",
                mend=f"approximate: {{accumulate: {self.count}}} in the recipe, or start fewer processes",
            )

    def share(self, batches: Sequence[int]) -> Sequence[int]:
        """Of the batches of a step, those of this process."""
        return batches[self.rank :: self.count]

    def from_first(self, make: Callable[[], Thing]) -> Thing:
        """What the first process makes, in all of them."""
        if self.count == 1:
            return make()
        said: list[Any] = [make() if self.first else None]
        distributed.broadcast_object_list(said)
        made: Thing = said[0]
        return made

    def total(self, number: float) -> float:
        """The sum of a number over all processes."""
        return sum(self._each(number)) if self.count > 1 else number

    def add_gradients(self, values: Sequence[Tensor]) -> None:
        """Put the sum of all processes' gradients into the values; one that no process has stays away."""
        if self.count == 1:
            return
        has = [any(each) for each in zip(*self._each([value.grad is not None for value in values]), strict=True)]
        for value, somewhere in zip(values, has, strict=True):
            if somewhere:
                if value.grad is None:
                    value.grad = torch.zeros_like(value)
                distributed.all_reduce(value.grad)

    def gathered(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Each of some matrices with the rows of all processes behind one another, the first process's first.

        Args:
            rows: matrices of as many columns in every process.
        """
        if self.count == 1:
            return list(rows)
        counts = self._each([len(matrix) for matrix in rows])
        whole = []
        for index, matrix in enumerate(rows):
            parts = []
            for rank in range(self.count):
                mine = rank == self.rank
                part = matrix.contiguous() if mine else matrix.new_empty(counts[rank][index], *matrix.shape[1:])
                distributed.broadcast(part, rank)
                parts.append(part)
            whole.append(torch.cat(parts))
        return whole

    def _each(self, said: Thing) -> list[Thing]:
        told: list[Any] = [None] * self.count
        distributed.all_gather_object(told, said)
        return told


@cache
def _leave_in_the_end() -> None:
    """Leave the group before the interpreter ends: its threads, which nobody stops, would abort the process then."""
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


ALONE = Processes()
