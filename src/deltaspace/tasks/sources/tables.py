"""Files of rows: JSON Lines with an object a line, CSV and TSV with a line of names first."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.storage import parse_json
from deltaspace.tasks.inputs import read_content, read_lines

SUFFIXES = (".jsonl", ".csv", ".tsv")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_ROW = '{"input": …, "target": …}'


class Row(NamedTuple):
    """Where a row is, for messages, and its values by column."""

    where: str
    fields: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; blank lines are passed over.

    Raises:
        DeltaspaceError: the file is missing or not UTF-8, or a line is not what it should be.
    """
    if path.suffix == ".jsonl":
        return [_json_row(line, f"{path}, line {number}") for number, line in read_lines(path, "a JSON Lines file")]
    return _table(path, _SEPARATORS[path.suffix])


def _json_row(line: bytes, where: str) -> Row:
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise DeltaspaceError(f"{where}: {error}", expected="one JSON object a line, in UTF-8") from None
    if not isinstance(fields, dict):
        raise DeltaspaceError(f"{where}: not an object", found=type(fields).__name__, expected=_JSON_ROW)
    return Row(where, fields)


def _table(path: Path, separator: str) -> list[Row]:
    try:
        text = read_content(path, "a table").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeltaspaceError(f"{path}: not UTF-8", found=str(error), expected="a table in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[Row] = []
    try:
        names = next(reader, [])
        if len(set(names)) < len(names) or not all(names):
            raise DeltaspaceError(
                f"{path}, line 1: these are no names of columns", found=", ".join(names)[:80], expected="names, each once"
            )
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                raise DeltaspaceError(
                    f"{path}, line {reader.line_num}: {counted(len(values), 'value')}",
                    expected=f"{len(names)}: {', '.join(names)}",
                )
            rows.append(Row(f"{path}, line {reader.line_num}", dict(zip(names, values, strict=True))))
    except csv.Error as error:
        raise DeltaspaceError(
            f"{path}, line {reader.line_num}: {error}",
            expected=f"a table with quotes that close, and values of at most {csv.field_size_limit():,} characters",
            mend="close the quotes, or write longer texts as JSON Lines",
        ) from None
    return rows
