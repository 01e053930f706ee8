"""Subspaces: the source tasks' solutions of all deltas, decomposed jointly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.zero_shot import Key as SolutionKey
from deltaspace.study.work import Work
from deltaspace.subspace import ProjectionMethod, Subspace, approximate
from deltaspace.subspace.fitting.displacements import InFiles
from deltaspace.training import NO_RESUME, Resume


class Key(NamedTuple):
    """Of how many dimensions, from which seed."""

    dim: int
    seed: int


class SubspaceStage(Stage[Key]):
    """One for each d and seed."""

    name = "subspace"
    title = "approximation"
    position = 20
    joint = True

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return itertools.starmap(Key, itertools.product(recipe.dim, recipe.seed))

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        recipe = resources.recipe
        method = recipe.projection_method()
        how = recipe.approximate.model_dump() if method.trained else None
        settings = [key.dim, {method.name: method.deciding()}, how, *method.read_from()]
        return MadeFrom(source_solutions(recipe, key.seed), settings)

    def work(self, resources: Resources, key: Key) -> Work:
        recipe, attached = resources.recipe, resources.deltas(key.seed)
        method, tasks = recipe.projection_method(), [resources.tasks[name] for name in recipe.source_tasks]
        sizes = [(delta.layout.size, delta.delta.large) for delta in attached]
        numbers = method.numbers(sizes, len(tasks), key.dim) + sum(size for size, _ in sizes)
        if not method.trained:
            return Work(numbers=numbers)
        dev = sum(len(task.dev[: recipe.approximate.dev]) for task in tasks)
        return Work.of_training(recipe.approximate, recipe.deltas, dev, task=tasks[0].name, numbers=numbers)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        subspace = approximated(resources, key, resources.recipe.projection_method(), resume)
        return Content(*subspace.pack())

    def load(self, resources: Resources, key: Key) -> Subspace:
        """A subspace that is there, on the PLM's device."""
        return resources.once(
            (self.name, key), lambda: Subspace.load(resources.folder.path / self.path(key)).to(resources.backbone.device)
        )


def source_solutions(recipe: Recipe, seed: int) -> tuple[Artefact, ...]:
    """The solutions of the source tasks, for every delta."""
    return tuple(INDEPENDENT.artefact(SolutionKey(delta, task, seed)) for task in recipe.source_tasks for delta in recipe.deltas)


def approximated(resources: Resources, key: Key, projection: ProjectionMethod | str, resume: Resume = NO_RESUME) -> Subspace:
    """The subspace that a projection method makes of the source solutions; they are read as they are needed, since together
    they may be larger than memory.
    """
    recipe = resources.recipe
    displacements: dict[str, InFiles] = {}
    for delta in recipe.deltas:
        artefacts = [INDEPENDENT.artefact(SolutionKey(delta, task, key.seed)) for task in recipe.source_tasks]
        for artefact in artefacts:
            resources.folder.read(artefact.path)  # damage shows before anything is computed from it
        displacements[delta] = InFiles(
            [resources.folder.path / artefact.path for artefact in artefacts], resources.backbone.device
        )
    return approximate(
        resources.deltas(key.seed),
        displacements,
        [resources.tasks[task] for task in recipe.source_tasks],
        dim=key.dim,
        projection=projection,
        settings=recipe.approximate,
        seed=key.seed,
        resume=resume,
    )


SUBSPACE = STAGES.register(SubspaceStage())
