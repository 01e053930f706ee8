"""Tasks from folders of JSON Lines: `{"input": str, "target": str[, "options": [str, …]]}` in train, dev and test."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ValidationError

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json
from deltaspace.tasks.sources.fields import check_fields
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import TaskSpec
from deltaspace.tasks.task import SPLITS, Example, Kind


class Folder(TaskSource):
    """A folder with `train.jsonl`, `dev.jsonl` and `test.jsonl`; a `manifest.json` beside it may say more of the task."""

    name = "folder"
    form = "a folder"

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The folder's splits; DeltaspaceError where a file is missing or a line is not what it should be, which it names."""
        folder = Path(where).expanduser()
        folder = folder if folder.is_absolute() or base is None else base / folder
        if not folder.is_dir():
            raise DeltaspaceError(
                f"task folder {folder} is missing",
                found="a file" if folder.exists() else "nothing",
                expected="a folder with train.jsonl, dev.jsonl and test.jsonl",
                mend="correct the path (it is relative to the recipe's folder), or name a demo: or hub: task",
            )
        splits: dict[str, list[Example]] = {split: read_file(folder / f"{split}.jsonl") for split in SPLITS}
        entry = _manifest_entry(folder)
        return Contents(splits, entry.kind, entry.metric, entry.labels or None)


def read_file(path: Path) -> list[Example]:
    """The examples of one JSON Lines file; blank lines are passed over.

    Raises:
        DeltaspaceError: the file is missing, or a line is not what it should be.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise DeltaspaceError(f"{path} is missing", expected="a JSON Lines file", mend="add the split's file") from None
    examples = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            examples.append(_example(line, f"{path}, line {number}"))
    return examples


def _example(line: bytes, where: str) -> Example:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DeltaspaceError(f"{where}: not UTF-8", found=str(error), expected="UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DeltaspaceError(f"{where}: not JSON", found=str(error), expected="one JSON object a line") from None
    return check_fields(fields, where)


class _Entry(BaseModel):
    """What a manifest says of a task that matters here."""

    name: str
    kind: Kind | None = None
    metric: str | None = None
    labels: list[str] | dict[str, str] | None = None


def _manifest_entry(folder: Path) -> _Entry:
    """What a `manifest.json` beside the task's folder says of it; nothing where there is none."""
    path = folder.parent / "manifest.json"
    entries = read_json(path) if path.exists() else []
    if not isinstance(entries, list):
        raise DeltaspaceError(f"{path} is not a manifest", found=type(entries).__name__, expected="a list of tasks")
    for entry in entries:
        if isinstance(entry, dict) and entry.get("name") == folder.name:
            try:
                return _Entry.model_validate(entry)
            except ValidationError as error:
                first = error.errors()[0]
                raise DeltaspaceError(
                    f"{path}: the entry of {folder.name} cannot be used",
                    found=f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['input']!r}",
                    expected=first["msg"],
                ) from None
    return _Entry(name=folder.name)


TASK_SOURCES.register(Folder())
