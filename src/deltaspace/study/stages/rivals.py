"""Rivals: other ways of tuning about d numbers on the unseen tasks, by the same training loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from deltaspace.deltas import AttachedDelta, Lora
from deltaspace.rivals import RIVALS, Tuned, attach_rival, tune
from deltaspace.scoring import score
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import training_history
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.stages.subspace import approximated, source_solutions
from deltaspace.study.work import Work
from deltaspace.subspace import Optimization, Optimized, optimize
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
        attached, tuned, parameters = self._tuned(resources, key, resume)
        task = resources.tasks[key.task]
        result = score(attached, task, parameters)
        row = self.row(key, task, result, source_delta=key.delta, tuned=len(tuned.vector))
        metadata = {"factor": tuned.factor, **training_history(tuned.fit)}
        return Content({"vector": tuned.vector}, metadata, row.timed(tuned.fit))

    def _tuned(self, resources: Resources, key: Key, resume: Resume) -> tuple[AttachedDelta, Optimized | Tuned, Tensor]:
        """What was tuned, how, and the parameters that came of it, (n,)."""
        settings, task = _alone(resources.recipe.optimize), resources.tasks[key.task]
        rival = RIVALS[key.rival]
        if (projection := rival.projection) is not None:
            size = SubspaceKey(key.dim, key.seed)
            subspace = resources.once((self.name, projection, size), lambda: approximated(resources, size, projection))
            attached = resources.attached(key.delta, key.seed)
            optimized = optimize(subspace, attached, task, settings, seed=key.seed, resume=resume)
            return attached, optimized, subspace.decode(key.delta, optimized.vector)
        attached = resources.once(
            (self.name, key.rival, key.dim, key.seed),
            lambda: attach_rival(key.rival, key.dim, resources.backbone, key.seed),
        )
        assert rival.lr is not None
        tuned = tune(attached, task, settings, lr=rival.lr, seed=key.seed, resume=resume)
        return attached, tuned, tuned.vector


def _alone(settings: Optimization) -> Optimization:
    """Without agreement: no other delta has a part in a rival's numbers."""
    return settings.model_copy(update={"agreement": 0.0})


RIVAL_STAGE = STAGES.register(Rivals())
