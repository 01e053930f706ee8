"""Independent solutions: each delta trained on each task as usual, or taken from a checkpoint."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from torch import Tensor

from deltaspace.deltas import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.scoring import score
from deltaspace.solutions import Solution, train_each
from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.zero_shot import ZERO_SHOT, Key, start_settings
from deltaspace.study.work import Work
from deltaspace.tasks import Task
from deltaspace.training import Fit, Resume, Training


class Independent(Stage[Key]):
    """The solutions that the subspace is made from, and those that it is judged by."""

    name = "independent"
    title = "independent solutions"
    position = 10
    scored = True

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return ZERO_SHOT.keys(recipe)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        imported = resources.imports.source(key.task, key.delta, key.seed)
        how = resources.recipe.train.model_dump() if imported is None else imported["sha256"]
        return MadeFrom(settings=[start_settings(resources, key), how])

    def work(self, resources: Resources, key: Key) -> Work:
        task, attached = resources.tasks[key.task], resources.attached(key.delta, key.seed)
        # As `make` writes them: vector and displacement in fp32, or a displacement alone in bf16.
        numbers = attached.layout.size // 2 if attached.delta.large else 2 * attached.layout.size
        work = Work.of_training(resources.recipe.train, [key.delta], len(task.dev), task=key.task, numbers=numbers)
        return work.reading(len(task.test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        return next(self.make_each(resources, [key], [resume]))

    def alike(self, resources: Resources, key: Key) -> Hashable:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        if not attached.delta.grouped or resources.imports.source(key.task, key.delta, key.seed) is not None:
            return None
        batch = batch_alike(task, resources.recipe.train)
        return None if batch is None else (key.delta, key.seed, batch)

    def make_each(self, resources: Resources, keys: Sequence[Key], resumes: Sequence[Resume]) -> Iterator[Content]:
        for key in keys:
            if (imported := resources.imports.source(key.task, key.delta, key.seed)) is not None:
                raise DeltaspaceError(
                    f"{resources.folder.path / self.path(key)} was imported, and is missing or of another recipe",
                    found=f"it came from {imported['from']}",
                    mend="import it again: deltaspace import",
                )
        attached = resources.attached(keys[0].delta, keys[0].seed)
        tasks = [resources.tasks[key.task] for key in keys]
        solutions = train_each(attached, tasks, resources.recipe.train, seed=keys[0].seed, resumes=resumes)
        for key, solution in zip(keys, solutions, strict=True):
            yield self._kept(resources, key, solution)

    def _kept(self, resources: Resources, key: Key, solution: Solution) -> Content:
        attached = resources.attached(key.delta, key.seed)
        vector, tensors = solution.vector, {"vector": solution.vector, "displacement": solution.displacement}
        if attached.delta.large:
            # A quarter of the file; what is scored is what is kept.
            tensors = {"displacement": solution.displacement.bfloat16()}
            vector = attached.initial + tensors["displacement"]
        content = self.content(resources, key, vector, solution.fit)
        return Content(tensors, content.metadata | training_history(solution.fit), content.row)

    def content(self, resources: Resources, key: Key, vector: Tensor, fit: Fit | None = None) -> Content:
        """A solution with its score on test; `fit` is how it was trained here."""
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        result = score(attached, task, vector)
        row = self.row(key, task, result, tuned=attached.layout.size)
        tensors = {"vector": vector, "displacement": vector - attached.initial}
        return Content(tensors, {"layout": _layout(attached), **self.shown(result)}, row.timed(fit))


def _layout(attached: AttachedDelta) -> list[list[object]]:
    return [[name, list(shape)] for name, shape in attached.layout.entries]


def batch_alike(task: Task, how: Training) -> Hashable:
    """Tasks of which this is the same have batches that go through the model together; None where one is not filled."""
    return task.ranked if len(task.train) >= how.batch_size else None


def training_history(fit: Fit) -> dict[str, object]:
    """What an artefact keeps of its training."""
    return {"curve": fit.curve, "best_step": fit.best_step}


INDEPENDENT = STAGES.register(Independent())
