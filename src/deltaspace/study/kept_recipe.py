"""The recipe as a study keeps it."""

from __future__ import annotations

from pathlib import Path

import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import path_of, resolved, write_text
from deltaspace.study.files import RECIPE
from deltaspace.study.recipe import Recipe


def written_recipe(recipe: Recipe) -> str:
    """A recipe as a study keeps it, so that it can be run from there: its folder of tasks as an absolute path."""
    written = recipe.model_dump(mode="json", by_alias=True)
    written["tasks"]["folder"] = str(resolved(path_of(recipe.tasks.folder or "")))
    return yaml.safe_dump(written, sort_keys=False)


def keep_recipe(recipe: Recipe, out: Path) -> None:
    """Write the recipe into the study."""
    path, text = out / RECIPE, written_recipe(recipe)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def check_same(recipe: Recipe, out: Path) -> None:
    """Raise DeltaspaceError unless the run that goes on has the same recipe."""
    path = out / RECIPE
    if path.read_text(encoding="utf-8") != written_recipe(recipe):
        raise DeltaspaceError(
            f"{out} is being run with another recipe",
            expected=f"what {path} says",
            mend=f"join with that one: deltaspace run {path} --out {out} --join; or wait until the run has ended",
        )
