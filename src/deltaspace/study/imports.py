"""Taking checkpoints into a study as its solutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deltaspace.checkpoints.read_peft import initial_for, read_checkpoints
from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.storage import read_metadata
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import logged
from deltaspace.study.imported import Imports
from deltaspace.study.observer import Observer
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.run import keep_recipe
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.zero_shot import Key


@dataclass(frozen=True)
class Imported:
    """A solution that was taken in.

    Args:
        task: of which task.
        delta: of which delta.
        name: of the checkpoint.
        initial: how theta0 was found.
        score: on the task's test split, on the metric's scale.
        n_test: how many examples that is of.
    """

    task: str
    delta: str
    name: str
    initial: str
    score: float
    n_test: int


def import_checkpoints(
    recipe: Recipe,
    out: Path | str,
    checkpoints: Mapping[str, str],
    *,
    delta: str | None = None,
    seed: int | None = None,
    initial_seed: int | None = None,
    same_base: bool = False,
    observer: Observer | None = None,
) -> list[Imported]:
    """Take checkpoints of peft into a study as solutions; `run_study` keeps them and makes the rest.

    There are many parameters, since a checkpoint does not say what a study has to know of it.

    Args:
        recipe: the study's.
        out: the study's folder.
        checkpoints: task -> folder, or name on the Hub.
        delta: which delta of the recipe they are; its only one of peft by default.
        seed: which seed of the recipe; its first by default.
        initial_seed: that their initial values were drawn from, where it is known.
        same_base: their model is the recipe's, whatever they call it.
        observer: told what goes on.

    Raises:
        DeltaspaceError: a checkpoint does not fit; nothing is taken in then.
    """
    resources = Resources(recipe, Folder(out))
    if unknown := sorted(set(checkpoints) - set(resources.tasks)):
        raise DeltaspaceError(f"the recipe has no task {unknown[0]!r}", expected=", ".join(resources.tasks))
    name = _delta_of(recipe, delta)
    seed = recipe.seed[0] if seed is None else seed
    if seed not in recipe.seed:
        raise DeltaspaceError(f"the recipe has no seed {seed}", expected=", ".join(map(str, recipe.seed)))
    resources.folder.check_free()
    # Not the resources' own, which are kept: its initial vector may change below.
    attached = AttachedDelta(recipe.delta(name), resources.backbone, seed, name, resources.imports.kept_initial(name, seed))
    read = dict(zip(checkpoints, read_checkpoints(list(checkpoints.values()), attached, same_base=same_base), strict=True))
    told = observer or Observer()
    with interruptible(), resources.folder.locked(), logged(resources.folder.path, INDEPENDENT.name, told) as log:
        keep_recipe(recipe, resources.folder.path)
        imports = resources.imports = Imports(resources.folder)
        if imports.initial_path(name, seed).exists():
            how = str(read_metadata(imports.initial_path(name, seed))["how"])
        else:
            initial, how = initial_for(attached, list(read.values()), initial_seed)
            imports.keep_initial(name, seed, initial, how)
        done = []
        for task, checkpoint in read.items():
            imports.keep_source(task, name, seed, checkpoint.name, checkpoint.sha256)
            key = Key(name, task, seed)
            artefact = INDEPENDENT.artefact(key)
            log.start(artefact, "missing")
            content = INDEPENDENT.content(resources, key, checkpoint.parameters)
            content.metadata["imported"] = imports.source(task, name, seed)
            Graph(resources).write(artefact, content)
            log.end(artefact)
            assert content.row is not None
            done.append(Imported(task, name, checkpoint.name, how, content.row.score, content.row.n_test))
    return done


def _delta_of(recipe: Recipe, delta: str | None) -> str:
    """The delta that checkpoints of peft are of."""
    methods = [name for name in recipe.deltas if isinstance(recipe.delta(name), PeftBacked)]
    if delta is None and len(methods) != 1:
        raise DeltaspaceError(
            "which delta are these?", expected=f"--delta and one of {', '.join(methods) or 'none: no peft method'}"
        )
    name = delta or methods[0]
    if name not in recipe.deltas:
        raise DeltaspaceError(f"the recipe has no delta {name!r}", expected=", ".join(recipe.deltas))
    return name
