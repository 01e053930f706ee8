"""Tasks from folders of JSON Lines: `{"input": str, "target": str[, "options": [str, …]]}` in train, dev and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json
from deltaspace.tasks.task import SPLITS, Example, Split


def read_folder(folder: Path) -> dict[Split, list[Example]]:
    """The three splits of `folder`, from `train.jsonl`, `dev.jsonl` and `test.jsonl`.

    Raises:
        DeltaspaceError: a file is missing, or a line is not what it should be; file and line are named.
    """
    if not folder.is_dir():
        raise DeltaspaceError(
            f"task folder {folder} is missing",
            found="a file" if folder.exists() else "nothing",
            expected="a folder with train.jsonl, dev.jsonl and test.jsonl",
            mend="correct the path (it is relative to the recipe's folder), or name a demo: or hub: task",
        )
    return {split: read_file(folder / f"{split}.jsonl") for split in SPLITS}


def read_file(path: Path) -> list[Example]:
    """The examples of one JSON Lines file; blank lines are passed over.

    Raises:
        DeltaspaceError: as `read_folder`.
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


def check_fields(fields: Any, where: str) -> Example:
    """One example from its JSON fields.

    Raises:
        DeltaspaceError: a field is missing, has the wrong type, or is empty.
    """
    if not isinstance(fields, dict):
        raise DeltaspaceError(f"{where}: not an object", found=type(fields).__name__, expected='{"input": …, "target": …}')
    for key in ("input", "target"):
        if key not in fields:
            raise DeltaspaceError(f"{where}: no {key!r}", found=f"the keys {sorted(fields)}", expected='"input" and "target"')
        if not isinstance(fields[key], str) or not fields[key].strip():
            raise DeltaspaceError(f"{where}: {key!r} is not a text", found=repr(fields[key]), expected="a non-empty string")
    options = fields.get("options")
    if options is not None and (not isinstance(options, list) or not options or not all(isinstance(o, str) for o in options)):
        raise DeltaspaceError(f"{where}: 'options' is not a list of texts", found=repr(options), expected="[str, …]")
    return Example(fields["input"], fields["target"], tuple(options) if options is not None else None)


def manifest_entry(folder: Path) -> dict[str, Any]:
    """What a `manifest.json` beside the task's folder says of it (kind, labels, metric), or nothing where there is none."""
    path = folder.parent / "manifest.json"
    if not path.exists():
        return {}
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DeltaspaceError(f"{path} is not a manifest", found=type(entries).__name__, expected="a list of tasks")
    found: dict[str, Any] = next((entry for entry in entries if entry.get("name") == folder.name), {})
    return {key: found[key] for key in ("kind", "labels", "metric") if found.get(key)}
