"""Span of the solutions: one dimension for each source task, its direction that task's displacement in every delta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.fitting.displacements import stacked
from deltaspace.subspace.fitting.joint import weighted
from deltaspace.subspace.fitting.method import ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.methods.registry import PROJECTIONS


@PROJECTIONS.register
class Span(ProjectionMethod):
    """The source tasks themselves are the dimensions; d is their number."""

    name: ClassVar[str] = "span"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = "the source tasks' displacements are the dimensions; d is their number"

    def check_dim(self, dim: int, tasks: int, blocks: int) -> None:
        if dim != tasks:
            raise DeltaspaceError(
                "the span of the solutions has one dimension for each source task",
                found=f"d = {dim} with {tasks} source task{'s' * (tasks > 1)}",
                expected=f"d = {tasks}",
                mend=f"set 'dim: {tasks}', or choose the projection svd",
            )

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        tasks = sources[0].tasks
        self.check_dim(dim, tasks, min(len(source.blocks) for source in sources))
        every = torch.eye(tasks, device=sources[0].displacements.device)
        maps: list[Map] = []
        for source in sources:
            if source.large:
                edges = torch.tensor([0, source.size], device=every.device)
                maps.append(Mixture(edges, every.unsqueeze(0), stacked(source.displacements)))
            else:
                units = self.units(source)
                maps.append(Linear(units, weighted(source.displacements, units, every)))
        return maps
