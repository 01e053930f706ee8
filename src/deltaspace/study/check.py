"""Whether a recipe can be run, without training anything: what `run` would meet in hours is met in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deltaspace.deltas import AttachedDelta
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.memory import check_fits
from deltaspace.rivals import RIVALS, attach_rival
from deltaspace.study.folder import Folder
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.tasks import Example, Task

# Examples in the batch that each delta runs once: the longest, in which positions end.
_BATCH = 2


def check_recipe(recipe: Recipe) -> list[Task]:
    """Load all tasks and the model of a recipe and see that they fit, without training anything.

    Returns:
        The tasks.

    Raises:
        DeltaspaceError: something does not fit.
    """
    resources = Resources(recipe, Folder(Path()))
    check_resources(resources)
    return list(resources.tasks.values())


def check_resources(resources: Resources) -> None:
    """See that the model reads every task, each delta runs one batch of it, there and back, and the subspaces fit into memory.

    Raises:
        DeltaspaceError: something does not fit.
    """
    check_spaces(resources)
    check_deltas(resources)


def check_spaces(resources: Resources) -> None:
    """See that the projection method can make what the recipe asks for, and that it fits into memory.

    Raises:
        DeltaspaceError: something does not fit.
    """
    recipe = resources.recipe
    method = recipe.projection_method()
    method.read_from()
    attached = resources.deltas(recipe.seed[0])
    tasks, blocks = len(recipe.source_tasks), min(len(delta.layout.entries) for delta in attached)
    large = [delta.name for delta in attached if delta.delta.large]
    method.check_sources([resources.tasks[name] for name in recipe.source_tasks], large)
    sizes = [(delta.layout.size, delta.delta.large) for delta in attached]
    for dim in recipe.dim:
        method.check_dim(dim, tasks, blocks)
        check_fits(
            f"the subspace of d = {dim}",
            method.numbers(sizes, tasks, dim),
            "lower 'dim', take smaller deltas, or choose the projection fastfood, which stores no directions",
            resources.backbone.device,
        )


def check_deltas(resources: Resources) -> None:
    """See that the model reads every task, and each delta runs one batch of it, there and back.

    Raises:
        DeltaspaceError: something does not fit.
    """
    recipe, family = resources.recipe, resources.backbone.family
    _check_positions(resources)
    for task in resources.tasks.values():
        family.check(task)
    attached = resources.deltas(recipe.seed[0])
    rivals = [name for name in recipe.rivals if RIVALS[name].make is not None]
    attached += [attach_rival(name, dim, resources.backbone, recipe.seed[0]) for name in rivals for dim in recipe.dim]
    for task in resources.tasks.values():
        batch = family.collate(family.encode(task, _longest(task)))
        for delta in attached:
            _try(delta, task, batch)


def _check_positions(resources: Resources) -> None:
    """Raise DeltaspaceError where inputs may be longer than the model has positions for."""
    model, asked = resources.backbone.model, resources.recipe.max_length
    count = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa's positions begin behind that of its padding.
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            count = module.num_embeddings - module.padding_idx - 1
    if isinstance(count, int) and asked > count:
        raise DeltaspaceError(
            f"max_length: {asked} tokens are more than the model's {count} positions",
            found=f"the model {resources.recipe.model}",
            expected=f"at most {count}",
            mend=f"lower 'max_length' to {count} or less",
        )


def _longest(task: Task) -> list[Example]:
    """The task's longest examples, of all splits."""
    return sorted((*task.train, *task.dev, *task.test), key=lambda example: len(example.input), reverse=True)[:_BATCH]


def _try(delta: AttachedDelta, task: Task, batch: Any) -> None:
    """Run a delta on one batch, and back: what a model or a method asks for beyond a text shows there."""
    vector = delta.initial.clone().requires_grad_()
    try:
        loss = delta.loss(vector, batch)
        loss.backward()
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise DeltaspaceError(
            f"the delta {delta.name} does not run on task {task.name}",
            found=f"{type(error).__name__}: {first_line(error)}",
            expected="a delta that needs nothing but the task's texts, within the model's positions",
            mend="lower 'max_length', or choose other settings of the delta",
        ) from error
    if not bool(loss.isfinite()):
        raise DeltaspaceError(
            f"the delta {delta.name} has no finite loss on task {task.name} before any training",
            found=float(loss),
            mend="see that the model's weights are whole, or run with --precision fp32",
        )
