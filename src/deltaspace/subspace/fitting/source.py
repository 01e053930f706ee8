"""What a projection method is made from: of one delta, its solutions of the source tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deltaspace.subspace.fitting.displacements import Displacements


@dataclass(frozen=True)
class Source:
    """One delta's source solutions.

    Args:
        displacements: (tasks, n), the tasks in the same order for every delta; no rows where a method needs none.
        blocks: how many numbers each tensor of the delta has, in the order of its layout; their sum is n.
        large: whether n is of the PLM's size, so that no dense basis fits.
    """

    displacements: Displacements
    blocks: Sequence[int] = field(default=())
    large: bool = False

    @property
    def tasks(self) -> int:
        """How many source tasks."""
        return self.displacements.shape[0]

    @property
    def size(self) -> int:
        """n."""
        return self.displacements.shape[1]
