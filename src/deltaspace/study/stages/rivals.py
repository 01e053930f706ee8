"""Rivals: other ways of tuning about d numbers on the unseen tasks, by the same training loop."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, Lora
from deltaspace.rivals import RIVALS, Tuned, attach_rival, tune_each
from deltaspace.scoring import score
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import batch_alike, training_history
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.stages.subspace import approximated, source_solutions
from deltaspace.study.work import Work
from deltaspace.subspace import Optimization, Optimized
from deltaspace.subspace.stages.optimize import optimize_each
from deltaspace.training import Resume


class Key(NamedTuple):
    """Of which size, which rival, of which delta, for which task."""

    dim: int
    rival: str
    delta: str
    task: str
    seed: int


class Rivals(Stage[Key]):
    """Points of another subspace through every delta; methods with numbers of their own, in the tables beside LoRA."""

    name = "rivals"
    title = "rivals"
    position = 40
    scored = True

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        for dim, seed, rival, task in itertools.product(recipe.dim, recipe.seed, recipe.rivals, recipe.unseen_tasks):
            for delta in [Lora.name] if RIVALS[rival].projection is None else recipe.deltas:
                yield Key(dim, rival, delta, task, seed)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        recipe = resources.recipe
        settings = [key.rival, key.delta, key.dim, key.seed, resources.tasks[key.task].fingerprint]
        rival = RIVALS[key.rival]
        settings += [_alone(recipe.optimize).model_dump(), rival.lr, rival.projection]
        # Even random directions have the length of the source tasks' displacements.
        return MadeFrom(() if rival.projection is None else source_solutions(recipe, key.seed), settings)

    def work(self, resources: Resources, key: Key) -> Work:
        how, task = resources.recipe.optimize, resources.tasks[key.task]
        work = Work.of_training(how, [key.delta], len(task.dev), side_by_side=len(how.factors), task=key.task, numbers=key.dim)
        return work.reading(len(task.test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        return next(self.make_each(resources, [key], [resume]))

    def alike(self, resources: Resources, key: Key) -> Hashable:
        how = resources.recipe.optimize
        batch = batch_alike(resources.tasks[key.task], how)
        alike = batch is not None and self._attached(resources, key).delta.grouped and how.optimizer == "adam"
        return (key.dim, key.rival, key.delta, key.seed, batch) if alike else None

    def make_each(self, resources: Resources, keys: Sequence[Key], resumes: Sequence[Resume]) -> Iterator[Content]:
        attached, made = self._attached(resources, keys[0]), self._tuned(resources, keys, resumes)
        for key, (tuned, parameters) in zip(keys, made, strict=True):
            result = score(attached, resources.tasks[key.task], parameters)
            row = self.row(key, resources.tasks[key.task], result, source_delta=key.delta, tuned=len(tuned.vector))
            metadata = {"factor": tuned.factor, **training_history(tuned.fit)}
            yield Content({"vector": tuned.vector}, metadata, row.timed(tuned.fit))

    def _attached(self, resources: Resources, key: Key) -> AttachedDelta:
        if RIVALS[key.rival].projection is not None:
            return resources.attached(key.delta, key.seed)
        named = (self.name, key.rival, key.dim, key.seed)
        return resources.once(named, lambda: attach_rival(key.rival, key.dim, resources.backbone, key.seed))

    def _tuned(
        self, resources: Resources, keys: Sequence[Key], resumes: Sequence[Resume]
    ) -> list[tuple[Optimized | Tuned, Float[Tensor, " params"]]]:
        """Of each key what was tuned, and the parameters that came of it."""
        first, settings, attached = keys[0], _alone(resources.recipe.optimize), self._attached(resources, keys[0])
        rival, tasks = RIVALS[first.rival], [resources.tasks[key.task] for key in keys]
        if (projection := rival.projection) is not None:
            size = SubspaceKey(first.dim, first.seed)
            subspace = resources.once((self.name, projection, size), lambda: approximated(resources, size, projection))
            vectors = optimize_each(subspace, attached, tasks, settings, seed=first.seed, resumes=resumes)
            return [(optimized, subspace.decode(first.delta, optimized.vector)) for optimized in vectors]
        assert rival.lr is not None
        tuned = tune_each(attached, tasks, settings, lr=rival.lr, seed=first.seed, resumes=resumes)
        return [(each, each.vector) for each in tuned]


def _alone(settings: Optimization) -> Optimization:
    """Without agreement: no other delta has a part in a rival's numbers."""
    return settings.model_copy(update={"agreement": 0.0})


RIVAL_STAGE = STAGES.register(Rivals())
