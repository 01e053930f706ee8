"""Tasks from folders of JSON Lines: `{"input": str, "target": str[, "options": [str, …]]}` in train, dev and test."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, ValidationError, field_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import plainly
from deltaspace.settings import Settings
from deltaspace.storage import parse_json, path_of
from deltaspace.tasks.inputs import read_lines
from deltaspace.tasks.sources.fields import check_fields
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import Labels, Metric, TaskSpec
from deltaspace.tasks.task import SPLITS, Example, Kind


class Folder(TaskSource):
    """A folder with `train.jsonl`, `dev.jsonl` and `test.jsonl`; a `manifest.json` beside it may say more of the task."""

    name = "folder"
    form = "a folder"

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The folder's splits; DeltaspaceError where a file is missing or a line is not what it should be, which it names."""
        folder = path_of(where)
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
        return Contents(splits, entry.kind, entry.metric, entry.labels)


def read_file(path: Path) -> list[Example]:
    """The examples of one JSON Lines file; blank lines are passed over.

    Raises:
        DeltaspaceError: the file is missing, or a line is not what it should be.
    """
    return [_example(line, f"{path}, line {number}") for number, line in read_lines(path, "a JSON Lines file")]


def _example(line: bytes, where: str) -> Example:
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise DeltaspaceError(f"{where}: {error}", expected="one JSON object a line, in UTF-8") from None
    return check_fields(fields, where)


class _Entry(Settings):
    """What a manifest says of a task that matters here."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Kind | None = None
    metric: Metric | None = None
    labels: Labels | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        # Manifests of tasks without labels say so.
        return None if value in ([], {}) else value


def _manifest_entry(folder: Path) -> _Entry:
    """What a `manifest.json` beside the task's folder says of it; nothing where there is none."""
    path = folder.parent / "manifest.json"
    try:
        entries = parse_json(path.read_bytes()) if path.exists() else []
    except OSError as error:
        raise DeltaspaceError(f"{path} cannot be read", found=error.strerror, expected="a list of tasks as JSON") from None
    except ValueError as error:
        raise DeltaspaceError(f"{path} is not a manifest", found=str(error), expected="a list of tasks as JSON") from None
    if not isinstance(entries, list):
        raise DeltaspaceError(f"{path} is not a manifest", found=type(entries).__name__, expected="a list of tasks")
    named = [entry for entry in entries if isinstance(entry, dict) and entry.get("name") == folder.name]
    if len(named) > 1:
        raise DeltaspaceError(f"{path} has two entries of {folder.name}", expected="one for each task")
    try:
        return _Entry.model_validate(named[0]) if named else _Entry(name=folder.name)
    except ValidationError as error:
        raise DeltaspaceError(
            f"{path}: the entry of {folder.name} cannot be used", found=plainly(error), mend="correct the manifest"
        ) from None


TASK_SOURCES.register(Folder())
