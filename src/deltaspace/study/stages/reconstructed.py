"""What a space keeps of the source tasks' solutions: each decoded from its code, beside the solution itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

import torch

from deltaspace.scoring import score
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.subspace import Key as SubspaceKey
from deltaspace.study.stages.zero_shot import Key as SolutionKey
from deltaspace.study.work import Work
from deltaspace.subspace.agreement import decisions, decisions_of, disagreement_of
from deltaspace.subspace.kept import TEXTS, Kept, relative_error
from deltaspace.training import Resume


class Key(NamedTuple):
    """In which space, of which delta, of which source task."""

    dim: int
    delta: str
    task: str
    seed: int

    @property
    def solution(self) -> SolutionKey:
        """The key of the solution."""
        return SolutionKey(self.delta, self.task, self.seed)


class ReconstructedStage(Stage[Key]):
    """Scores of the source tasks' codes, and how far what they decode to is from the solutions."""

    name = "reconstructed"
    title = "reconstruction"
    position = 22
    scored = True
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        if recipe.reconstruction is not False:
            for dim, seed in itertools.product(recipe.dim, recipe.seed):
                for task, delta in itertools.product(recipe.source_tasks, recipe.deltas):
                    yield Key(dim, delta, task, seed)

    def wanted(self, resources: Resources, key: Key) -> bool:
        return resources.recipe.reconstruction is True or resources.imports.source(key.task, key.delta, key.seed) is not None

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        return MadeFrom((SUBSPACE.artefact(SubspaceKey(key.dim, key.seed)), INDEPENDENT.artefact(key.solution)), [TEXTS])

    def work(self, resources: Resources, key: Key) -> Work:
        return Work(task=key.task).reading(len(resources.tasks[key.task].test) + 3 * TEXTS, key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        subspace = SUBSPACE.load(resources, SubspaceKey(key.dim, key.seed))
        path = INDEPENDENT.path(key.solution)
        tensors, said = resources.folder.read(path)
        displacement = tensors["displacement"].to(attached.initial)
        entry = subspace.entry(key.delta)
        # Random maps have no source tasks: a solution's code is what they encode it to.
        known = key.task in subspace.sources
        code = subspace.vector(key.task, key.delta) if known else entry.encode(displacement.unsqueeze(0))[0]
        decoded = subspace.decode(key.delta, code)
        items = attached.backbone.family.encode(task, task.test[:TEXTS])
        untuned = decisions_of(attached.backbone.model, attached.backbone, items)
        first, second = decisions(attached, torch.stack([attached.initial + displacement, decoded]), items)
        imported = resources.imports.source(key.task, key.delta, key.seed)
        result = score(attached, task, decoded)
        kept = Kept(
            task=key.task,
            delta=key.delta,
            seed=key.seed,
            dim=key.dim,
            source=None if imported is None else imported["from"],
            parameter_error=relative_error([(displacement, decoded - attached.initial)]),
            disagreement=disagreement_of(first, second, untuned),
            metric=task.metric,
            before=said["row"]["score"],
            after=result.value,
            n_test=result.count,
        )
        return Content(metadata={"kept": asdict(kept)}, row=self.row(key, task, result))


RECONSTRUCTED = STAGES.register(ReconstructedStage())
