"""Zero-shot scores: the PLM with each delta at its initial parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from deltaspace.deltas import AttachedDelta
from deltaspace.scoring import score
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.work import Work
from deltaspace.tasks import Task
from deltaspace.training import Resume, Score

# Inputs on which a delta is compared with the PLM alone.
_SEEN = 8


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

    def work(self, resources: Resources, key: Key) -> Work:
        return Work(task=key.task).reading(len(resources.tasks[key.task].test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        result = start_score(resources, attached, task)
        return Content(metadata=self.shown(result), row=self.row(key, task, result))


def start_score(resources: Resources, attached: AttachedDelta, task: Task) -> Score:
    """The score of a delta's initial vector on test. Deltas that start as exact no-ops have that of the PLM, worked out once."""
    if starts_as_plm(attached, task):
        return resources.once(("zero-shot", task.name), lambda: score(attached, task, attached.initial))
    return score(attached, task, attached.initial)


@torch.no_grad()
def starts_as_plm(attached: AttachedDelta, task: Task) -> bool:
    """Whether a delta's initial vector adds exactly nothing: the PLM decides to the last bit as it does without the delta.

    That is seen on the longest of the task's test inputs. What a delta adds to a layer is either exactly zero whatever comes in,
    as that of a factor of zeros is, or differs in some bit of some decision.
    """
    plm = attached.backbone
    examples = sorted(task.test, key=lambda example: len(example.input), reverse=True)[:_SEEN]
    batch = plm.family.collate(plm.family.encode(task, examples))
    with plm.products.computing():
        alone = plm.family.decision(plm.model, batch)
    return torch.equal(attached.decision(attached.initial, batch), alone)


def start_settings(resources: Resources, key: Key) -> list[object]:
    """What decides the parameters and the task that a delta starts with."""
    recipe, task = resources.recipe, resources.tasks[key.task]
    return [task.fingerprint, key.delta, recipe.deltas[key.delta], key.seed, resources.imports.checksum(key.delta, key.seed)]


ZERO_SHOT = STAGES.register(ZeroShot())
