"""A control: the mean of the source tasks' codes, the same for every task; what transfer does beyond it is of the task."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.work import Work
from deltaspace.subspace import transfer
from deltaspace.training import Resume


class Key(NamedTuple):
    """In which subspace, decoded as which delta, for which task."""

    dim: int
    delta: str
    task: str
    seed: int


class MeanCode(Stage[Key]):
    """Scores alone; nothing is tuned."""

    name = "mean_code"
    title = "mean code"
    position = 35
    scored = True
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        if recipe.controls:
            for dim, seed in itertools.product(recipe.dim, recipe.seed):
                for task, delta in itertools.product(recipe.unseen_tasks, recipe.deltas):
                    yield Key(dim, delta, task, seed)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        return MadeFrom((SUBSPACE.artefact(SubspaceKey(key.dim, key.seed)),), [resources.tasks[key.task].fingerprint, key.delta])

    def work(self, resources: Resources, key: Key) -> Work:
        return Work(task=key.task).reading(len(resources.tasks[key.task].test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        subspace = SUBSPACE.load(resources, SubspaceKey(key.dim, key.seed))
        result = transfer(subspace, subspace.mean_code(key.delta), attached, task)
        row = self.row(key, task, result)
        return Content(row=row)


MEAN_CODE = STAGES.register(MeanCode())
