"""Subspace solution transfer: every vector decoded as every other delta. Nothing is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.optimized import Key as VectorKey
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.work import Work
from deltaspace.subspace import transfer
from deltaspace.training import Resume


class Key(NamedTuple):
    """In which subspace, from which delta to which, for which task."""

    dim: int
    source: str
    delta: str
    task: str
    seed: int

    @property
    def vector(self) -> VectorKey:
        """The key of the vector that is decoded."""
        return VectorKey(self.dim, self.source, self.task, self.seed)


class Transferred(Stage[Key]):
    """Scores alone."""

    name = "transferred"
    title = "transfer"
    position = 50
    scored = True
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        for dim, seed in itertools.product(recipe.dim, recipe.seed):
            for task, (source, delta) in itertools.product(recipe.unseen_tasks, itertools.permutations(recipe.deltas, 2)):
                yield Key(dim, source, delta, task, seed)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        return MadeFrom((OPTIMIZED.artefact(key.vector), SUBSPACE.artefact(key.vector.subspace)), [key.delta])

    def work(self, resources: Resources, key: Key) -> Work:
        return Work(task=key.task).reading(len(resources.tasks[key.task].test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        result = transfer(SUBSPACE.load(resources, key.vector.subspace), self.decoded(resources, key), attached, task)
        return Content(metadata=self.shown(result), row=self.row(key, task, result, source_delta=key.source))

    def decoded(self, resources: Resources, key: Key) -> Tensor:
        """The vector that is decoded, (d,)."""
        return OPTIMIZED.vector(resources, key.vector).to(resources.backbone.device)


TRANSFERRED = STAGES.register(Transferred())
