"""Subspace optimization: the intrinsic vector of every unseen task, tuned through every delta."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import batch_alike, training_history
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.work import Work
from deltaspace.subspace import Optimized, transfer
from deltaspace.subspace.codes import radius_of
from deltaspace.subspace.stages.optimize import optimize_each
from deltaspace.training import Resume


class Key(NamedTuple):
    """In which subspace, through which delta, for which task."""

    dim: int
    delta: str
    task: str
    seed: int

    @property
    def subspace(self) -> SubspaceKey:
        """The key of its subspace."""
        return SubspaceKey(self.dim, self.seed)


class OptimizedStage(Stage[Key]):
    """The vectors, with their scores through the delta that they were found through."""

    name = "optimized"
    title = "optimization"
    position = 30
    # 2: keeps the radius of its vector.
    version = 2
    scored = True

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        for dim, seed in itertools.product(recipe.dim, recipe.seed):
            for task, delta in itertools.product(recipe.unseen_tasks, recipe.deltas):
                yield Key(dim, delta, task, seed)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        how = resources.recipe.optimize
        settings = [resources.tasks[key.task].fingerprint, key.delta, how.model_dump()]
        if how.agreement:
            settings.append(sorted(resources.recipe.deltas))
            # An earlier version compared the first token alone.
            settings += [] if resources.tasks[key.task].ranked else ["all tokens"]
        return MadeFrom((SUBSPACE.artefact(key.subspace),), settings)

    def work(self, resources: Resources, key: Key) -> Work:
        recipe, task, how = resources.recipe, resources.tasks[key.task], resources.recipe.optimize
        candidates = len(how.starts) * len(how.factors)
        deltas = recipe.deltas if how.agreement else [key.delta]
        numbers = (how.steps + 2) * key.dim
        work = Work.of_training(how, deltas, len(task.dev), side_by_side=candidates, task=key.task, numbers=numbers)
        nearest = len(recipe.source_tasks) * how.nearest_dev if "nearest" in how.starts else 0
        return work.reading(len(task.test) + nearest, key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        return next(self.make_each(resources, [key], [resume]))

    def alike(self, resources: Resources, key: Key) -> Hashable:
        how = resources.recipe.optimize
        named = resources.recipe.deltas if how.agreement else [key.delta]
        grouped = all(resources.attached(name, key.seed).delta.grouped for name in named)
        batch = batch_alike(resources.tasks[key.task], how)
        return (key.subspace, key.delta, batch) if grouped and batch is not None and how.optimizer == "adam" else None

    def make_each(self, resources: Resources, keys: Sequence[Key], resumes: Sequence[Resume]) -> Iterator[Content]:
        delta, seed, how = keys[0].delta, keys[0].seed, resources.recipe.optimize
        attached, subspace = resources.attached(delta, seed), SUBSPACE.load(resources, keys[0].subspace)
        others = [resources.attached(name, seed) for name in resources.recipe.deltas if how.agreement and name != delta]
        tasks = [resources.tasks[key.task] for key in keys]
        tuned = optimize_each(subspace, attached, tasks, how, others=others, seed=seed, resumes=resumes)
        for key, vector in zip(keys, tuned, strict=True):
            yield self._content(resources, key, vector)

    def _content(self, resources: Resources, key: Key, tuned: Optimized) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        subspace = SUBSPACE.load(resources, key.subspace)
        result = transfer(subspace, tuned.vector, attached, task)
        row = self.row(key, task, result, source_delta=key.delta, tuned=key.dim)
        radius = float(radius_of(tuned.vector.unsqueeze(0), subspace.codes_of(key.delta)))
        metadata = {"start": tuned.start, "factor": tuned.factor, "radius": radius}
        metadata |= training_history(tuned.fit) | self.shown(result)
        return Content({"vector": tuned.vector, "trajectory": tuned.trajectory}, metadata, row.timed(tuned.fit))

    def vector(self, resources: Resources, key: Key) -> Tensor:
        """A vector that is there, (d,)."""
        return resources.folder.read(self.path(key))[0]["vector"]


OPTIMIZED = STAGES.register(OptimizedStage())
