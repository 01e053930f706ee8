"""A zoo: many checkpoints at once, whose tasks their folders' names tell, or a manifest.

A manifest is a JSON object. Each entry is a name with a folder (or a name on the Hub), or with a mapping of `folder` and `task`;
what is left out is as the name says. Folders are relative to the manifest's.

    {"sst2": "loras/sst2-r8", "trec": {"folder": "loras/17", "task": "question-types"}}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from deltaspace.deltas.peft_checkpoint import CONFIG
from deltaspace.errors import DeltaspaceError
from deltaspace.names import did_you_mean
from deltaspace.storage import path_of, read_json, resolved

_FORM = '{"NAME": "FOLDER"} or {"NAME": {"folder": "FOLDER", "task": "TASK"}}'


def zoo_tasks(checkpoints: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Which checkpoint is of which task.

    Args:
        checkpoints: folders, names on the Hub, and manifests (`.json`), which also say of what tasks folders beside them are.
        tasks: names of the study's.

    Returns:
        Task -> checkpoint, in the order in which they were given.

    Raises:
        DeltaspaceError: a name is no task's, two are of one task, or a manifest is none: all that is wrong with names at once.
    """
    manifests = [name for name in checkpoints if name.endswith(".json")]
    listed = [entry for name in manifests for entry in _listed(path_of(name))]
    given = {same_name(name): name for name in checkpoints if name not in manifests}
    said = {same_name(folder) for folder, _ in listed}
    named = [(name, Path(name).name) for key, name in given.items() if key not in said] + listed
    wrong, by_task = [], dict[str, str]()
    for folder, task in named:
        if path_of(folder).exists() and not (path_of(folder) / CONFIG).is_file():
            wrong.append(f"{folder} is no checkpoint of peft: no {CONFIG} in it")
        elif task not in tasks:
            wrong.append(f"{folder}: the recipe has no task {task!r}{did_you_mean(task, tasks)}")
        elif task in by_task:
            wrong.append(f"{folder} and {by_task[task]} are both of {task}")
        else:
            by_task[task] = folder
    if wrong:
        raise DeltaspaceError(
            "which checkpoint is of which task is not clear" if len(wrong) > 1 else wrong[0],
            found="\n    ".join(wrong) if len(wrong) > 1 else None,
            expected="folders called like the recipe's tasks: " + ", ".join(tasks),
            mend=f"name the tasks, --task once for each checkpoint, or write a manifest: {_FORM}",
        )
    return by_task


def same_name(name: str) -> str:
    """What two ways to write one folder have in common; a name on the Hub is only itself."""
    return str(resolved(path_of(name))) if path_of(name).exists() else name


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    """Folder and task of each entry of a manifest."""
    said = read_json(path)
    if not isinstance(said, dict) or not said:
        raise DeltaspaceError(f"{path} is no manifest", found=type(said).__name__, expected=_FORM)
    for name, entry in said.items():
        fields = {"folder": entry} if isinstance(entry, str) else entry
        if (
            not isinstance(fields, dict)
            or not {*fields} <= {"folder", "task"}
            or not all(isinstance(v, str) for v in fields.values())
        ):
            raise DeltaspaceError(f"{path}: the entry {name[:100]!r} is wrong", found=repr(entry)[:200], expected=_FORM)
        folder, task = str(fields.get("folder", name)), str(fields.get("task", name))
        beside = path.parent / path_of(folder)
        yield str(beside) if beside.exists() else folder, task
