"""A zoo: many checkpoints at once, whose tasks their folders' names tell, or a manifest.

A manifest is a JSON object. Each entry is a name with a folder (or a name on the Hub), or with a mapping of `folder` and `task`;
what is left out is as the name says. Folders are relative to the manifest's.

    {"sst2": "loras/sst2-r8", "trec": {"folder": "loras/17", "task": "question-types"}}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from deltaspace.deltas.peft_checkpoint import CONFIG
from deltaspace.errors import DeltaspaceError
from deltaspace.names import did_you_mean
from deltaspace.storage import download, path_of, read_json, resolved

_FORM = '{"NAME": "FOLDER"} or {"NAME": {"folder": "FOLDER", "task": "TASK"}}'


def zoo_tasks(checkpoints: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Which checkpoint is of which task.

    Args:
        checkpoints: folders, names on the Hub, and manifests (`.json`), which also say of what tasks folders beside them are.
        tasks: names of the study's.

    Returns:
        Task -> checkpoint, in the order in which they were given.

    Raises:
        DeltaspaceError: a name is no task's, two are of one task, a folder that a manifest names is missing, or a manifest is not
            one: all that is wrong with names at once.
    """
    manifests = [name for name in checkpoints if is_manifest(name)]
    listed = [entry for name in manifests for entry in _listed(path_of(name))]
    given = {same_name(name): name for name in checkpoints if name not in manifests}
    said = {same_name(entry.folder) for entry in listed}
    named = [_Entry(name, Path(name).name) for key, name in given.items() if key not in said] + listed
    wrong, by_task = [], dict[str, str]()
    for folder, task, where, here in named:
        if path_of(folder).is_file():
            wrong.append(f"{where}{folder} is a file, no folder of peft's")
        elif path_of(folder).exists() and not (path_of(folder) / CONFIG).is_file():
            wrong.append(f"{where}{folder} is no checkpoint of peft: no {CONFIG} in it")
        elif here and not path_of(folder).exists():
            wrong.append(f"{where}the folder {folder} is missing")
        elif task not in tasks:
            wrong.append(f"{where}{folder}: the recipe has no task {task!r}{did_you_mean(task, tasks)}")
        elif task in by_task:
            wrong.append(f"{where}{folder} and {by_task[task]} are both of {task}")
        else:
            by_task[task] = folder
    if wrong:
        raise DeltaspaceError(
            "which checkpoint is of which task is not clear" if len(wrong) > 1 else wrong[0],
            found="\n    ".join(wrong) if len(wrong) > 1 else None,
            expected="folders of peft's called like the recipe's tasks: " + ", ".join(tasks),
            mend=f"correct the names; or name the tasks, --task once for each checkpoint, or write a manifest: {_FORM}",
        )
    return by_task


def check_fetched(checkpoints: Sequence[str]) -> None:
    """See that what manifests name, and is no folder here, can be had from the Hub.

    Raises:
        DeltaspaceError: some cannot, of which the manifest and the entry are told.
    """
    wrong = []
    for name in filter(is_manifest, checkpoints):
        for folder, _, where, _ in _listed(path_of(name)):
            if path_of(folder).exists():
                continue
            try:
                download(folder, CONFIG)
            except DeltaspaceError as error:
                wrong.append(
                    f"{where}there is no folder {folder}, and {error.what}" + (f" ({error.found})" if error.found else "")
                )
    if wrong:
        raise DeltaspaceError(
            wrong[0] if len(wrong) == 1 else "some checkpoints of manifests are missing",
            found="\n    ".join(wrong) if len(wrong) > 1 else None,
            expected="folders, relative to the manifest's, or names on the Hugging Face Hub (owner/name)",
            mend="correct the manifest, or put the folder there; names on the Hub need a network",
        )


def is_manifest(name: str) -> bool:
    """Whether a name among checkpoints is a manifest's."""
    return name.endswith(".json")


def same_name(name: str) -> str:
    """What two ways to write one folder have in common; a name on the Hub is only itself."""
    return str(resolved(path_of(name))) if path_of(name).exists() else name


class _Entry(NamedTuple):
    """A checkpoint and its task; which entry of which manifest says so, as a message begins; whether that means a folder here."""

    folder: str
    task: str
    where: str = ""
    here: bool = False


def _listed(path: Path) -> Iterator[_Entry]:
    """The entries of a manifest."""
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
        # What no name on the Hub is like means a folder, and so does what lies in a folder that is there.
        like_hub = folder.count("/") == 1 and not folder.startswith((".", "/", "~")) and not beside.parent.is_dir()
        elsewhere = not beside.exists() and (like_hub or path_of(folder).exists())
        yield _Entry(folder if elsewhere else str(beside), task, f"{path}, entry {name[:100]!r}: ", not like_hub)
