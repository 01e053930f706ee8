"""Texts without targets, for what reads no labels."""

from __future__ import annotations

from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import parse_json, path_of


def read_inputs(path: Path | str) -> list[str]:
    """Texts without targets: one a line, or, in a file that ends in `.jsonl`, the `input` of every line.

    Raises:
        DeltaspaceError: the file is missing, is not UTF-8, has no text, or a line is not what it should be.
    """
    path = path_of(path)
    lines = read_lines(path, "a file of texts, one a line")
    if not lines:
        raise DeltaspaceError(f"{path} is empty", expected="texts, one a line")
    if path.suffix == ".jsonl":
        return [_input(line, f"{path}, line {number}") for number, line in lines]
    return [_text(line, f"{path}, line {number}") for number, line in lines]


def read_content(path: Path, expected: str) -> bytes:
    """What a file holds; a byte order mark at its start is left out.

    Raises:
        DeltaspaceError: the file is missing or cannot be read.
    """
    try:
        content = path_of(path).read_bytes()
    except FileNotFoundError:
        raise DeltaspaceError(f"{path} is missing", expected=expected, mend="correct the path, or add the file") from None
    except OSError as error:
        raise DeltaspaceError(f"{path} cannot be read", found=error.strerror, expected=expected) from None
    return content.removeprefix(b"\xef\xbb\xbf")


def read_lines(path: Path, expected: str) -> list[tuple[int, bytes]]:
    """The lines of a file that say something, with their numbers from 1; as `read_content` otherwise."""
    lines = read_content(path, expected).split(b"\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _text(line: bytes, where: str) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeltaspaceError(f"{where}: not UTF-8", found=str(error), expected="UTF-8 text") from None
    if "\0" in text:
        raise DeltaspaceError(f"{where}: no text", found="a NUL", expected="UTF-8 text")
    return text


def _input(line: bytes, where: str) -> str:
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise DeltaspaceError(f"{where}: no input", found=str(error), expected='{"input": str}') from None
    text = fields.get("input") if isinstance(fields, dict) else None
    if not isinstance(text, str) or not text.strip():
        found = repr(fields)[:80] if text is None else repr(text)[:80]
        raise DeltaspaceError(f"{where}: no input", found=found, expected='{"input": str}, the text not empty')
    return text
