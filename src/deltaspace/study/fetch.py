"""A recipe's tasks as files: fetched once, then read from their folder with no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import (
    check_export,
    digest,
    exporting,
    file_digest,
    path_of,
    read_json,
    what_is_at,
    write_json,
    write_text,
)
from deltaspace.study.files import RECIPE
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.resources import load_tasks
from deltaspace.tasks import Task, TaskSpec
from deltaspace.tasks.task import SPLITS

MANIFEST = "manifest.json"


def fetch_tasks(recipe: Recipe, folder: Path | str) -> tuple[list[Task], bool]:
    """Write a recipe's tasks into a folder, as far as the recipe's limits go, unless they are there already.

    The folder gets a folder of JSON Lines for each task; `manifest.json` with what each task is, where it is from, and the
    SHA-256 of its files, which are checked whenever they are read; and `recipe.yaml`, the recipe with its tasks from there.
    Tasks read from there have the same fingerprints as those that they were made from.

    Args:
        recipe: whose tasks.
        folder: where to. It takes the place of an earlier fetch only, and whole.

    Returns:
        The tasks, and whether they were fetched now.

    Raises:
        DeltaspaceError: a task cannot be loaded, or the folder has other files, or files that were changed since.
    """
    folder = path_of(folder)
    specs = {spec.task_name: _said(spec, recipe) for spec in (*recipe.tasks.source, *recipe.tasks.unseen)}
    text = yaml.safe_dump(_from_here(recipe), sort_keys=False)
    if _known(folder) == specs:
        # The tasks are the same, the rest of the recipe may have changed.
        if (folder / RECIPE).read_text(encoding="utf-8") != text:
            write_text(folder / RECIPE, text)
        return list(load_tasks(load_recipe(folder / RECIPE)).values()), False
    # Before anything is fetched for it.
    check_export(folder, "fetched tasks")
    tasks = load_tasks(recipe, shots=False)
    with exporting(folder, "fetched tasks") as made:
        write_json(made / MANIFEST, [_written(task, made / name, specs[name]) for name, task in tasks.items()])
        write_text(made / RECIPE, text)
        lines = [f"- {task.name}: {task.source}" for task in tasks.values()]
        note = "Their licenses are those of where they are from; see there before passing them on."
        write_text(made / "README.md", "\n".join(["# Tasks that deltaspace fetched", "", *lines, "", note, ""]))
    return list(load_tasks(load_recipe(folder / RECIPE)).values()), True


def _said(spec: TaskSpec, recipe: Recipe) -> str:
    """A digest of all that decides a task's examples."""
    return digest([spec.model_dump(), recipe.limits.model_dump()])


def _known(folder: Path) -> dict[str, str] | None:
    """What an earlier fetch says that it was made from; None where there is none."""
    if (
        what_is_at(folder, follow=True) != "a folder"
        or what_is_at(folder / MANIFEST) is None
        or what_is_at(folder / RECIPE) is None
    ):
        return None
    entries = read_json(folder / MANIFEST)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "spec" in entry for entry in entries):
        return None
    return {str(entry.get("name")): str(entry["spec"]) for entry in entries}


def _written(task: Task, folder: Path, spec: str) -> dict[str, Any]:
    """Write one task's splits; its entry in the manifest."""
    if task.name in (MANIFEST, RECIPE, "README.md"):
        raise DeltaspaceError(f"a task is called {task.name}, as a file beside the tasks is", mend="give it another 'name'")
    hashes = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        rows: list[dict[str, Any]] = [
            {"input": example.input, "target": example.target}
            | ({} if example.options is None else {"options": list(example.options)})
            for example in task.split(split)
        ]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        hashes[path.name] = file_digest(path)
    sizes = {f"{split}_size": len(task.split(split)) for split in SPLITS}
    said = {"name": task.name, "kind": task.kind, "labels": task.labels, "metric": task.metric, **sizes}
    return {**said, "source": task.source, "sha256": hashes, "spec": spec}


def _from_here(recipe: Recipe) -> dict[str, Any]:
    """The recipe with its tasks from the folder in which it lies."""
    written = recipe.model_dump(mode="json", by_alias=True)
    for role in ("source", "unseen"):
        specs: tuple[TaskSpec, ...] = getattr(recipe.tasks, role)
        written["tasks"][role] = [
            spec.task_name if spec.prompt is None else {"from": spec.task_name, "prompt": spec.prompt} for spec in specs
        ]
    del written["tasks"]["folder"]
    return written
