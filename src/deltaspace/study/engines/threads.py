"""How many threads an artefact is computed with: the one thing of an engine that numbers depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.study.artefact import Artefact
from deltaspace.study.stage import STAGES


@dataclass(frozen=True)
class Threads:
    """Threads of torch, which adds in another order with another number of them.

    Args:
        each: of an artefact that is made from one training or scoring.
        joint: of one whose stage is `joint`.
    """

    each: int
    joint: int

    @classmethod
    def chosen(cls, each: int | None, joint: int | None) -> Threads:
        """What is not said is torch's: all cores, or OMP_NUM_THREADS.

        Raises:
            DeltaspaceError: a number is below 1.
        """
        for name, count in (("threads", each), ("joint threads", joint)):
            if count is not None and count < 1:
                raise DeltaspaceError(f"{name}: {count} cannot be", expected="1 or more")
        return cls(each or torch.get_num_threads(), joint or torch.get_num_threads())

    def of(self, artefact: Artefact) -> int:
        """Those of one artefact."""
        return self.joint if STAGES[artefact.stage].joint else self.each


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """So many in the block, and as many as before behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
