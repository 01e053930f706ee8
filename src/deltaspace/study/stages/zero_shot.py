"""Zero-shot scores: the PLM with each delta at its initial parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from deltaspace.scoring import score
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.training import Resume


class Key(NamedTuple):
    """Of which delta, on which task, from which seed."""

    delta: str
    task: str
    seed: int


class ZeroShot(Stage[Key]):
    """Where every delta starts from."""

    name = "zero_shot"
    title = "zero-shot"
    position = 0
    scored = True
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return (Key(delta, task, seed) for seed in recipe.seed for task in recipe.all_tasks for delta in recipe.deltas)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        return MadeFrom(settings=start_settings(resources, key))

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        result = score(attached, task, attached.initial)
        return Content(row=self.row(key, task, result))


def start_settings(resources: Resources, key: Key) -> list[object]:
    """What decides the parameters and the task that a delta starts with."""
    recipe, task = resources.recipe, resources.tasks[key.task]
    return [task.fingerprint, key.delta, recipe.deltas[key.delta], key.seed, resources.imports.checksum(key.delta, key.seed)]


ZERO_SHOT = STAGES.register(ZeroShot())
