"""Span of the solutions: one dimension for each source task, its direction that task's displacement in every delta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.methods.joint import weighted
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.displacements import Rows, stacked


class Span(Decomposition):
    """The source tasks themselves are the dimensions; d is their number."""

    name: ClassVar[str] = "span"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = "the source tasks' displacements are the dimensions; d is their number"

    def make(
        self, displacements: Sequence[Rows], sizes: Sequence[list[int]], dim: int, seed: int, large: Sequence[bool] = ()
    ) -> list[Projection]:
        tasks = displacements[0].shape[0]
        if dim != tasks:
            raise DeltaspaceError(
                "the span of the solutions has one dimension for each source task",
                found=f"d = {dim} with {tasks} source task{'s' * (tasks > 1)}",
                expected=f"d = {tasks}",
                mend=f"set 'dim: {tasks}', or choose the projection svd",
            )
        every = torch.eye(tasks, device=displacements[0].device)
        found: list[Projection] = []
        for index, (rows, own) in enumerate(zip(displacements, sizes, strict=True)):
            if large and large[index]:
                found.append(Mixture(torch.tensor([0, rows.shape[1]], device=every.device), every.unsqueeze(0), stacked(rows)))
            else:
                unit = self.units(rows, own)
                found.append(Linear(unit, weighted(rows, unit, every)))
        return found
