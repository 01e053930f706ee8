"""What the stages of one study work with: the recipe's tasks, the PLM and its deltas, each loaded once and only if needed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deltaspace.deltas import AttachedDelta
from deltaspace.gguf_files import model_files
from deltaspace.storage import digest, path_of
from deltaspace.study.folder import Folder
from deltaspace.study.imported import Imports
from deltaspace.tasks import Task, few_shot, load_task

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.study.recipe import Recipe

Name = TypeVar("Name", bound=Hashable)
Thing = TypeVar("Thing")


class Resources:
    """What stages work with.

    Args:
        recipe: the study's.
        folder: the study's.
        beside: those of another study, with which the PLM, its deltas and tasks are shared as far as they are the same.

    Raises:
        DeltaspaceError: there is no such model, or a task's examples are not what they should be.
    """

    def __init__(self, recipe: Recipe, folder: Folder, beside: Resources | None = None) -> None:
        self.recipe, self.folder = recipe, folder
        self.imports = Imports(folder)
        # Tasks as they were read, by what asks for them.
        self._read: dict[str, Task] = {} if beside is None else beside._read
        self.tasks = load_tasks(recipe, read=self._read)
        # What is put plainly is as it was before there were other ways.
        way = [] if recipe.prompt.plain else [recipe.prompt.model_dump()]
        self.model_fingerprint = digest([model_files(recipe.model).fingerprint, recipe.family, recipe.max_length, *way])
        shared = beside is not None and beside.model_fingerprint == self.model_fingerprint
        # The PLM, and its deltas by what decides them.
        self._loaded: dict[Hashable, Any] = beside._loaded if beside is not None and shared else {}
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """What was made under this key before, or is made now and kept for as long as the study runs."""
        return _once(self._kept, key, make)

    def forget(self) -> None:
        """Let go of what was made once for this study alone."""
        self._kept.clear()

    @property
    def backbone(self) -> Backbone:
        """The PLM."""
        # Here, because it imports transformers, which a run that finds everything made does not need.
        from deltaspace.backbone import load_backbone

        recipe = self.recipe
        settings: dict[str, Any] = {"family": recipe.family, "max_length": recipe.max_length, "prompting": recipe.prompt}
        return _once(self._loaded, "backbone", lambda: load_backbone(recipe.model, **settings))

    def share(self, other: Resources) -> None:
        """Take over the PLM of another run, where it is the same one and was loaded."""
        if other.model_fingerprint == self.model_fingerprint and "backbone" in other._loaded:
            self._loaded["backbone"] = other._loaded["backbone"]

    def attached(self, delta: str, seed: int) -> AttachedDelta:
        """One of the recipe's deltas on the PLM."""
        initial = self.imports.initial(delta, seed)
        decided_by = digest([self.recipe.deltas[delta], self.imports.checksum(delta, seed)])
        return _once(
            self._loaded,
            (delta, seed, decided_by),
            lambda: AttachedDelta(self.recipe.delta(delta), self.backbone, seed, delta, initial),
        )

    def deltas(self, seed: int) -> list[AttachedDelta]:
        """All of the recipe's deltas, in its order."""
        return [self.attached(delta, seed) for delta in self.recipe.deltas]


def load_tasks(recipe: Recipe, *, shots: bool = True, read: dict[str, Task] | None = None) -> dict[str, Task]:
    """A recipe's tasks by name.

    Args:
        recipe: which.
        shots: take few examples of the unseen ones only, where the recipe asks for that.
        read: tasks that were read already, by what asks for them; those that are read now are added.
    """
    folder, read = path_of(recipe.tasks.folder or ""), {} if read is None else read
    tasks = {}
    for spec in (*recipe.tasks.source, *recipe.tasks.unseen):
        asked = digest([str(folder), spec.model_dump(mode="json"), recipe.limits.model_dump(mode="json")])
        tasks[spec.task_name] = _once(read, asked, partial(load_task, spec, folder=folder, limits=recipe.limits))
    if shots and recipe.tasks.shots is not None:
        tasks |= {name: few_shot(tasks[name], recipe.tasks.shots) for name in recipe.unseen_tasks}
    return tasks


def _once(kept: dict[Name, Any], key: Name, make: Callable[[], Thing]) -> Thing:
    if key not in kept:
        kept[key] = make()
    return cast("Thing", kept[key])
