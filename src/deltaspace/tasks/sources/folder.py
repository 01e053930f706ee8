"""Tasks from files: a folder with train, dev and test, or one file; JSON Lines, CSV or TSV."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, field_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import plainly
from deltaspace.names import counted
from deltaspace.settings import Settings
from deltaspace.storage import file_digest, parse_json, path_of
from deltaspace.tasks.sources.rows import check_values, example_of
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.sources.tables import SUFFIXES, read_rows
from deltaspace.tasks.spec import Columns, Labels, Metric, TaskSpec
from deltaspace.tasks.task import SPLITS, Example, Kind

# How one file becomes three splits. The splits are part of the task: this seed and these shares never change.
_SPLIT_SEED = 0
_DEV_SHARE, _TEST_SHARE = 0.1, 0.2
_LEAST_ROWS = 10
_FORMS = "a folder with train.jsonl, dev.jsonl and test.jsonl (or .csv, .tsv), or one such file"


class Folder(TaskSource):
    """A folder with `train.jsonl`, `dev.jsonl` and `test.jsonl`; a `manifest.json` beside it may say more of the task."""

    name = "folder"
    form = "a folder"

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The splits; DeltaspaceError where a file is missing or a line is not what it should be, which it names."""
        path = path_of(where)
        path = path if path.is_absolute() or base is None else base / path
        if path.is_file() and path.suffix in SUFFIXES:
            return Contents(_divided(path, spec.columns))
        if not path.is_dir():
            raise DeltaspaceError(
                f"task folder {path} is missing",
                found="a file of another kind" if path.exists() else "nothing",
                expected=_FORMS,
                mend="correct the path (it is relative to the recipe's folder), or name a demo: or hub: task",
            )
        entry = _manifest_entry(path)
        splits: dict[str, list[Example]] = {}
        for split in SPLITS:
            file = _file_of(path, split)
            entry.check(file)
            splits[split] = read_examples(file, spec.columns)
        return Contents(splits, entry.kind, entry.metric, entry.labels)


def _file_of(folder: Path, split: str) -> Path:
    files = [path for suffix in SUFFIXES if (path := folder / f"{split}{suffix}").exists()]
    if len(files) > 1:
        raise DeltaspaceError(f"{folder} has two files of its {split} split", found=" and ".join(file.name for file in files))
    return files[0] if files else folder / f"{split}{SUFFIXES[0]}"


def _divided(path: Path, columns: Columns) -> dict[str, list[Example]]:
    """One file's examples as three splits: shuffled, then two tenths for test and one for dev."""
    # A text that stands twice would leak from one split into another: the first stays.
    examples = list({example.input: example for example in reversed(read_examples(path, columns))}.values())[::-1]
    if len(examples) < _LEAST_ROWS:
        raise DeltaspaceError(
            f"{path} is too small for three splits", found=counted(len(examples), "example"), expected=f"{_LEAST_ROWS} or more"
        )
    random.Random(_SPLIT_SEED).shuffle(examples)
    test, dev = int(len(examples) * _TEST_SHARE), int(len(examples) * _DEV_SHARE)
    return {"test": examples[:test], "dev": examples[test : test + dev], "train": examples[test + dev :]}


def read_examples(path: Path, columns: Columns) -> list[Example]:
    """The examples of a file of JSON Lines, CSV or TSV; DeltaspaceError where a line is not what it should be, which it names."""
    rows = read_rows(path)
    examples = [example_of(fields, _meant(columns, fields), where) for where, fields in rows]
    kept = [example for example in examples if example is not None]
    if rows and not kept:
        check_values((fields for _, fields in rows), _meant(columns, rows[0].fields), str(path))
    return kept


def _meant(columns: Columns, fields: Mapping[str, Any]) -> Columns:
    """The columns, with a row's own options; what earlier versions wrote into a study's recipe, whatever its files have."""
    if (columns.input, columns.target) == ("text", "label") and "input" in fields and "text" not in fields:
        columns = columns.model_copy(update={"input": None, "target": None})
    if columns.options is None and fields.get("options") is not None:
        columns = columns.model_copy(update={"options": "options"})
    return columns


class _Entry(Settings):
    """What a manifest says of a task that matters here."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Kind | None = None
    metric: Metric | None = None
    labels: Labels | None = None
    sha256: dict[str, str] | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        # Manifests of tasks without labels say so.
        return None if value in ([], {}) else value

    def check(self, file: Path) -> None:
        """Raise DeltaspaceError where a file is not the one that the manifest was written with."""
        known = (self.sha256 or {}).get(file.name)
        if known is not None and file_digest(file) != known:
            raise DeltaspaceError(
                f"{file} is not the file that was fetched",
                found="another SHA-256 than its manifest.json has",
                mend="fetch the tasks again into another folder; or, where it was changed on purpose, remove 'sha256' there",
            )


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
