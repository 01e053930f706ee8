"""Taking checkpoints into a study as its solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deltaspace.checkpoints.kept import kept_of
from deltaspace.checkpoints.read_peft import Checkpoints, initial_for
from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.storage import read_metadata
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import logged
from deltaspace.study.imported import Imports
from deltaspace.study.kept_recipe import keep_recipe
from deltaspace.study.observer import Observer
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.zero_shot import Key
from deltaspace.study.zoo import check_fetched, is_manifest, same_name, zoo_tasks
from deltaspace.subspace.kept import Kept


@dataclass(frozen=True)
class Imported:
    """A solution that was taken in.

    Args:
        kept: what is kept of the checkpoint, and which that is.
        initial: how theta0 was found.
    """

    kept: Kept
    initial: str


def import_checkpoints(
    recipe: Recipe,
    out: Path | str,
    checkpoints: Mapping[str, str] | Sequence[str],
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
        checkpoints: task -> folder, or name on the Hub; or these alone, and manifests, which tell their tasks (see `zoo_tasks`).
        delta: which delta of the recipe they are; its only one of peft by default.
        seed: which seed of the recipe; its first by default.
        initial_seed: that their initial values were drawn from, where it is known.
        same_base: their model is the recipe's, whatever they call it.
        observer: told what goes on.

    What is kept of each is measured before any of them is taken in, and kept with it.

    Raises:
        DeltaspaceError: a checkpoint does not fit, or it is not clear of which task it is; nothing is taken in then.
    """
    resources = Resources(recipe, Folder(out))
    if isinstance(checkpoints, Mapping):
        _refuse_manifests(checkpoints)
    else:
        given, checkpoints = list(checkpoints), zoo_tasks(list(checkpoints), list(resources.tasks))
        check_fetched(given)
    if unknown := sorted(set(checkpoints) - set(resources.tasks)):
        raise DeltaspaceError(f"the recipe has no task {unknown[0]!r}", expected=", ".join(resources.tasks))
    name = _delta_of(recipe, delta)
    seed = recipe.seed[0] if seed is None else seed
    if seed not in recipe.seed:
        raise DeltaspaceError(f"the recipe has no seed {seed}", expected=", ".join(map(str, recipe.seed)))
    resources.folder.check_free()
    _check_different(checkpoints)
    drawn = AttachedDelta(recipe.delta(name), resources.backbone, seed, name)
    resources.imports.check_settings(name, seed, drawn.settings())
    # Not the resources' own, which are kept: its initial vector may change below.
    attached = AttachedDelta(recipe.delta(name), resources.backbone, seed, name, resources.imports.kept_initial(name, seed))
    read = Checkpoints(list(checkpoints.values()), attached, same_base=same_base)
    for _ in read.checked():
        pass
    told = observer or Observer()
    with interruptible(), resources.folder.locked(), logged(resources.folder.path, INDEPENDENT.name, told) as log:
        measured = {}
        for number, (task, checkpoint) in enumerate(zip(checkpoints, read, strict=True)):
            told.progress(number, len(read), f"what is kept of {task}")
            measured[task] = kept_of(attached, resources.tasks[task], checkpoint)
        imports = resources.imports = Imports(resources.folder)
        path = imports.initial_path(name, seed)
        # Where a mean is kept, no other mean is asked for.
        asked = initial_seed is not None or not path.exists()
        begun = initial_for(attached, read, initial_seed) if asked else None
        if path.exists():
            how = str(read_metadata(path)["how"])
            if begun and not begun[0].equal(attached.initial):
                raise DeltaspaceError(
                    f"earlier checkpoints of {name} were taken in with other initial values",
                    found=how,
                    expected=begun[1],
                    mend="leave out --initial-seed, or import all of them into a new study",
                )
            keep_recipe(recipe, resources.folder.path)
        elif begun:
            initial, how = begun
            keep_recipe(recipe, resources.folder.path)
            imports.keep_initial(name, seed, initial, how, attached.settings())
        done = []
        for task, checkpoint in zip(checkpoints, read, strict=True):
            imports.keep_source(task, name, seed, checkpoint.name, checkpoint.sha256)
            key = Key(name, task, seed)
            artefact = INDEPENDENT.artefact(key)
            log.start(artefact, "missing")
            content = INDEPENDENT.content(resources, key, checkpoint.parameters)
            said = {"imported": imports.source(task, name, seed), "kept": asdict(measured[task])}
            Graph(resources).write(artefact, replace(content, metadata=content.metadata | said))
            log.end(artefact)
            done.append(Imported(measured[task], how))
    return done


def _refuse_manifests(checkpoints: Mapping[str, str]) -> None:
    """A manifest tells itself of which tasks its checkpoints are."""
    if manifests := [name for name in checkpoints.values() if is_manifest(name)]:
        raise DeltaspaceError(
            f"{manifests[0]} is a manifest, no checkpoint of one task",
            expected="a folder, or a name on the Hugging Face Hub (owner/name)",
            mend="give the manifest without --task: it tells the task of each of its checkpoints",
        )


def _check_different(checkpoints: Mapping[str, str]) -> None:
    """One solution of two tasks says nothing of either."""
    seen: dict[str, str] = {}
    for task, checkpoint in checkpoints.items():
        key = same_name(checkpoint)
        if key in seen:
            raise DeltaspaceError(
                f"one checkpoint is given for two tasks: {seen[key]} and {task}",
                found=checkpoint,
                expected="another checkpoint for each task",
            )
        seen[key] = task


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
