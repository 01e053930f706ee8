"""What the stages of one study work with: the recipe's tasks, the PLM and its deltas, each loaded once and only if needed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
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

Thing = TypeVar("Thing")


class Resources:
    """What stages work with.

    Args:
        recipe: the study's.
        folder: the study's.

    Raises:
        DeltaspaceError: there is no such model, or a task's examples are not what they should be.
    """

    def __init__(self, recipe: Recipe, folder: Folder) -> None:
        self.recipe, self.folder = recipe, folder
        self.imports = Imports(folder)
        self.tasks = load_tasks(recipe)
        # What is put plainly is as it was before there were other ways.
        way = [] if recipe.prompt.plain else [recipe.prompt.model_dump()]
        self.model_fingerprint = digest([model_files(recipe.model).fingerprint, recipe.family, recipe.max_length, *way])
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """What was made under this key before, or is made now and kept for as long as the study runs."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("Thing", self._kept[key])

    @property
    def backbone(self) -> Backbone:
        """The PLM."""
        # Here, because it imports transformers, which a run that finds everything made does not need.
        from deltaspace.backbone import load_backbone

        recipe = self.recipe
        settings: dict[str, Any] = {"family": recipe.family, "max_length": recipe.max_length, "prompting": recipe.prompt}
        return self.once("backbone", lambda: load_backbone(recipe.model, **settings))

    def share(self, other: Resources) -> None:
        """Take over the PLM of another study, where it is the same one and was loaded."""
        if other.model_fingerprint == self.model_fingerprint and "backbone" in other._kept:
            self._kept["backbone"] = other._kept["backbone"]

    def attached(self, delta: str, seed: int) -> AttachedDelta:
        """One of the recipe's deltas on the PLM."""
        initial = self.imports.initial(delta, seed)
        return self.once(
            ("attached", delta, seed),
            lambda: AttachedDelta(self.recipe.delta(delta), self.backbone, seed, delta, initial),
        )

    def deltas(self, seed: int) -> list[AttachedDelta]:
        """All of the recipe's deltas, in its order."""
        return [self.attached(delta, seed) for delta in self.recipe.deltas]


def load_tasks(recipe: Recipe, *, shots: bool = True) -> dict[str, Task]:
    """A recipe's tasks by name; with few examples of the unseen ones only if `shots`, where the recipe asks for that."""
    folder = path_of(recipe.tasks.folder or "")
    specs = (*recipe.tasks.source, *recipe.tasks.unseen)
    tasks = {spec.task_name: load_task(spec, folder=folder, limits=recipe.limits) for spec in specs}
    if shots and recipe.tasks.shots is not None:
        tasks |= {name: few_shot(tasks[name], recipe.tasks.shots) for name in recipe.unseen_tasks}
    return tasks
