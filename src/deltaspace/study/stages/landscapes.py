"""Landscapes: every delta on a slice of the subspace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from deltaspace.landscape import Landscape, Mark, sample
from deltaspace.landscape.slice import DEFAULT_CELLS, Grid
from deltaspace.names import check_name
from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.slices import SettledSlice, make_slice
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.optimized import Key as VectorKey
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.work import Work
from deltaspace.training import Resume


class Key(NamedTuple):
    """On which slice."""

    slice: SettledSlice


class Landscapes(Stage[Key]):
    """Those that the recipe asks for; others may be explored beside them."""

    name = "landscapes"
    title = "landscapes"
    position = 60
    explored = True
    # 2: several cells in one pass of a text-to-text model are scored each by its own parameters.
    version = 2

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return (Key(recipe.settle(spec)) for spec in recipe.landscapes)

    def path(self, key: Key) -> str:
        return self.path_of({"name": key.slice.name})

    def described(self, key: Key) -> dict[str, Any]:
        return key.slice.described()

    def path_of(self, described: Mapping[str, Any]) -> str:
        # What a slice says beside its name is for people; its fields may change between versions.
        name = described.get("name")
        if not isinstance(name, str):
            raise ValueError("its key has no name")
        return f"{self.name}/{check_name('a landscape', name)}{self.suffix}"

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        vectors = [OPTIMIZED.artefact(vector) for vector in self._vectors(resources, key)]
        settings = [resources.tasks[key.slice.spec.task].fingerprint, key.slice.described(), list(resources.recipe.deltas)]
        return MadeFrom((self._subspace(key), *vectors), settings)

    def work(self, resources: Resources, key: Key) -> Work:
        spec, task = key.slice.spec, resources.tasks[key.slice.spec.task]
        examples = len(task.split(spec.split)[: spec.examples])
        axes = len(spec.directions) or len(key.slice.points) - 1
        counts = [grid.count for grid in Grid.parse(spec.grid)] if spec.grid else [DEFAULT_CELLS]
        cells = math.prod(counts * axes if len(counts) == 1 else counts)
        # Score and loss of every cell; fewer are sampled where a tolerance lets cells be filled in.
        work = Work(task=task.name, numbers=2 * cells * len(resources.recipe.deltas))
        return work.reading(cells * examples, *resources.recipe.deltas)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        chosen, spec = key.slice, key.slice.spec
        subspace = SUBSPACE.load(resources, SubspaceKey(chosen.dim, chosen.seed))
        read: dict[tuple[str, str], dict[str, Tensor]] = {}
        for vector in self._vectors(resources, key):
            read[vector.task, vector.delta] = resources.folder.read(OPTIMIZED.path(vector))[0]
        vectors = {name: tensors["vector"] for name, tensors in read.items()}
        landscape = sample(
            subspace,
            resources.deltas(chosen.seed),
            resources.tasks[spec.task],
            make_slice(chosen, subspace.to("cpu"), vectors),
            spec.sampling(),
            resume=resume,
        )
        for (task, delta), tensors in read.items():
            if task == spec.task:
                mark(landscape, delta, tensors["vector"], tensors["trajectory"])
        return Content(*landscape.pack())

    def _subspace(self, key: Key) -> Artefact:
        return SUBSPACE.artefact(SubspaceKey(key.slice.dim, key.slice.seed))

    def _vectors(self, resources: Resources, key: Key) -> list[VectorKey]:
        """The vectors of the slice's task, which it shows, and those that it is laid through."""
        recipe, chosen = resources.recipe, key.slice
        names = [(chosen.spec.task, delta) for delta in recipe.deltas if chosen.spec.task in recipe.unseen_tasks]
        names += [name for point in chosen.named if (name := recipe.vector_of(point, chosen.spec.task)) is not None]
        return [VectorKey(chosen.dim, delta, task, chosen.seed) for task, delta in dict.fromkeys(names)]


def mark(landscape: Landscape, delta: str, vector: Tensor, trajectory: Tensor) -> None:
    """Note where on a landscape the vector lies that was found through a delta, and how tuning went there.

    Args:
        landscape: of the vector's task; changed in place.
        delta: the delta.
        vector: (d,).
        trajectory: (steps + 1, d).
    """
    coordinates, distances = landscape.slice.project(vector.unsqueeze(0))
    landscape.marks[delta] = Mark(tuple(coordinates[0].tolist()), float(distances[0]))
    landscape.trajectories[delta] = landscape.slice.project(trajectory)[0].tolist()


LANDSCAPES = STAGES.register(Landscapes())
