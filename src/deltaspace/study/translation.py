"""Translating one vector of a study, on inputs of its task or on any others, beside what its recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltaspace.deltas import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import digest
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.transferred import Key
from deltaspace.study.stages.translated import TRANSLATED
from deltaspace.subspace import TRANSLATE, Subspace, Translated, transfer, translate
from deltaspace.training import Progress, Resume, Score


@dataclass(frozen=True)
class StudyTranslation:
    """A vector of a study, translated.

    Args:
        translated: the vector, and how far the deltas agree.
        subspace: that it is of.
        target: the delta that it is for, on the PLM.
        transferred: the target delta's score on test at the vector as it was.
        score: and at the translated one.
        metric: of both.
    """

    translated: Translated
    subspace: Subspace
    target: AttachedDelta
    transferred: Score
    score: Score
    metric: str


def translate_in_study(
    folder: Path,
    task: str,
    source: str,
    delta: str,
    *,
    inputs: Sequence[str] | None = None,
    dim: int | None = None,
    seed: int | None = None,
    state: Path | None = None,
    progress: Progress | None = None,
) -> StudyTranslation:
    """Translate the vector that a study tuned for a task through one delta to another; the study stays as it is.

    More parameters than most functions: each tells which vector.

    Args:
        folder: the study's.
        task: an unseen task of it.
        source: the delta that the vector was tuned through.
        delta: the delta that it is to be for.
        inputs: texts in place of the task's training inputs.
        dim, seed: which subspace; the recipe's only d, and its first seed by default.
        state: a file from which it goes on when it was killed, which whoever asks removes at the end; without it it begins anew.
        progress: told how far it is.

    Raises:
        DeltaspaceError: the folder is no study, it has no such vector yet, or the inputs do not fit the task.
    """
    Folder(folder).check()
    recipe = load_recipe(folder / RECIPE)
    if dim is None and len(recipe.dim) > 1:
        raise DeltaspaceError(f"{folder} has several d", found=", ".join(map(str, recipe.dim)), mend="choose one: --dim")
    key = Key(recipe.dim[0] if dim is None else dim, source, delta, task, recipe.seed[0] if seed is None else seed)
    for what, name, known in (
        ("unseen task", task, recipe.unseen_tasks),
        ("delta", source, list(recipe.deltas)),
        ("delta", delta, list(recipe.deltas)),
        ("d", key.dim, list(recipe.dim)),
        ("seed", key.seed, list(recipe.seed)),
    ):
        if name not in known:
            raise DeltaspaceError(f"{folder} has no {what} {name!r}", expected=", ".join(map(str, known)))
    resources = Resources(recipe, Folder(folder))
    needed = OPTIMIZED.artefact(key.vector)
    if (present := Graph(resources).state(needed)) != "valid":
        raise DeltaspaceError(
            f"{folder / needed.path} is {present}", mend=f"deltaspace optimize {folder / RECIPE} --out {folder}"
        )
    subspace, loaded = SUBSPACE.load(resources, key.vector.subspace), resources.tasks[task]
    attached = resources.attached(source, key.seed), resources.attached(delta, key.seed)
    vector = OPTIMIZED.vector(resources, key.vector).to(resources.backbone.device)
    how = recipe.translate or TRANSLATE
    made_from = [Graph(resources).fingerprint(needed), delta, loaded.fingerprint, how.model_dump(), inputs]
    resume = Resume(state, digest([TRANSLATED.version, *made_from]), progress)
    translated = translate(subspace, vector, attached, loaded, how, inputs=inputs, seed=key.seed, resume=resume)
    before = transfer(subspace, vector, attached[1], loaded)
    after = transfer(subspace, translated.vector, attached[1], loaded)
    return StudyTranslation(translated, subspace, attached[1], before, after, loaded.metric)
