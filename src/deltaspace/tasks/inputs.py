"""Texts without targets, for what reads no labels."""

from __future__ import annotations

import json
from pathlib import Path

from deltaspace.errors import DeltaspaceError


def read_inputs(path: Path) -> list[str]:
    """Texts without targets: one a line, or, in a file that ends in `.jsonl`, the `input` of every line.

    Raises:
        DeltaspaceError: the file is missing, is not UTF-8, has no text, or a line is not what it should be.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (FileNotFoundError, IsADirectoryError):
        found = "a folder" if path.is_dir() else "nothing"
        raise DeltaspaceError(f"{path} is no file", found=found, expected="a file of texts, one a line") from None
    except UnicodeDecodeError as error:
        raise DeltaspaceError(f"{path}: not UTF-8", found=str(error), expected="UTF-8 text") from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise DeltaspaceError(f"{path} is empty", expected="texts, one a line")
    if path.suffix != ".jsonl":
        return [line for _, line in numbered]
    return [_input(line, f"{path}, line {number}") for number, line in numbered]


def _input(line: str, where: str) -> str:
    try:
        text = json.loads(line)["input"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DeltaspaceError(f"{where}: no input", found=f"{type(error).__name__}: {error}", expected='{"input": str}') from None
    if not isinstance(text, str) or not text.strip():
        raise DeltaspaceError(f"{where}: the input is no text", found=repr(text), expected="a string")
    return text
