"""Taking checkpoints into a study as its solutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.checkpoints import initial_for, read_checkpoints
from deltaspace.deltas import PeftBacked
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_metadata, write_tensors
from deltaspace.solutions import score
from deltaspace.study.folder import Folder
from deltaspace.study.run import Report, Study, keep_recipe
from deltaspace.training import Score

if TYPE_CHECKING:
    from deltaspace.study.recipe import Recipe


@dataclass(frozen=True)
class Imported:
    """A solution that was taken in.

    Args:
        task: of which task.
        delta: of which delta.
        name: of the checkpoint.
        initial: how theta0 was found.
        score: on the task's test split.
    """

    task: str
    delta: str
    name: str
    initial: str
    score: Score


def import_solutions(
    recipe: Recipe,
    out: Path,
    checkpoints: Mapping[str, str],
    *,
    delta: str | None = None,
    seed: int | None = None,
    initial_seed: int | None = None,
    same_base: bool = False,
    base: Path | None = None,
) -> list[Imported]:
    """Take checkpoints of peft into a study as solutions; `run` keeps them and makes the rest.

    Args:
        recipe: the study's.
        out: the study's folder.
        checkpoints: task -> folder, or name on the Hub.
        delta: which delta of the recipe they are; its only one of peft by default.
        seed: which seed of the recipe; its first by default.
        initial_seed: that their initial values were drawn from, where it is known.
        same_base: their model is the recipe's, whatever they call it.
        base: what relative task folders are relative to.

    Raises:
        DeltaspaceError: a checkpoint does not fit; nothing is taken in then.
    """
    study = Study(recipe, Folder(out), base, Report())
    if unknown := sorted(set(checkpoints) - set(study.tasks)):
        raise DeltaspaceError(f"the recipe has no task {unknown[0]!r}", expected=", ".join(study.tasks))
    methods = [name for name in recipe.deltas if isinstance(recipe.delta(name), PeftBacked)]
    if delta is None and len(methods) != 1:
        raise DeltaspaceError(
            "which delta are these?", expected=f"--delta and one of {', '.join(methods) or 'none: no peft method'}"
        )
    name = delta or methods[0]
    if name not in recipe.deltas:
        raise DeltaspaceError(f"the recipe has no delta {name!r}", expected=", ".join(recipe.deltas))
    seed = recipe.seed[0] if seed is None else seed
    attached = study.attached(name, seed)
    read = read_checkpoints(list(checkpoints.values()), attached, same_base=same_base)
    found = dict(zip(checkpoints, read, strict=True))
    with study.folder.locked():
        keep_recipe(recipe, out, base)
        if study.imports.initial_path(name, seed).exists():
            how = str(read_metadata(study.imports.initial_path(name, seed))["how"])
        else:
            initial, how = initial_for(attached, list(found.values()), initial_seed)
            study.imports.keep_initial(name, seed, initial, how)
        # Everything of this delta starts from there now.
        study = Study(recipe, Folder(out), base, Report())
        attached = study.attached(name, seed)
        done = []
        for task, checkpoint in found.items():
            study.imports.keep_source(task, name, seed, checkpoint.name, checkpoint.sha256)
            result = score(attached, study.tasks[task], checkpoint.parameters)
            row = study.row("independent", task, name, None, seed, None, result, None, attached.layout.size)
            tensors = {"vector": checkpoint.parameters, "displacement": checkpoint.parameters - attached.initial}
            metadata = {
                "fingerprint": study.solution_print(task, name, seed),
                "row": row,
                "layout": [[entry, list(shape)] for entry, shape in attached.layout.entries],
                "imported": study.imports.source(task, name, seed),
            }
            write_tensors(out / study.solution_path(task, name, seed), tensors, metadata)
            done.append(Imported(task, name, checkpoint.name, how, result))
    return done
