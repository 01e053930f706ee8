"""Rows of named columns, of the Hub or of a file, as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import shown
from deltaspace.names import counted
from deltaspace.tasks.sources.fields import check_fields
from deltaspace.tasks.spec import Columns
from deltaspace.tasks.task import Example

# Which columns are taken where a recipe names none: the first that is there.
_INPUTS, _TARGETS = ("input", "text"), ("target", "label")
# Of the values that a file has, so many are told.
_LISTED = 8
_MEND = "name the columns under 'columns' in the recipe"


def example_of(row: Mapping[str, Any], columns: Columns, where: str, names: Sequence[str] | None = None) -> Example | None:
    """The example that a row holds.

    Args:
        row: values by column.
        columns: which columns hold what.
        where: of the row, for messages.
        names: of the target's classes, where the row has their numbers.

    Returns:
        The example; None where `columns.values` does not list the row's target, which leaves the row out.

    Raises:
        DeltaspaceError: a column is missing, a value is no text, a target has no class or is no option.
    """
    text = _input(row, columns.input or _first(row, _INPUTS, where), where)
    options = _options(row, columns, where)
    value = _value(row, columns.target or _first(row, _TARGETS, where), where)
    if options is not None and columns.answer != "text":
        target = options[_position(value, columns.answer, len(options), where)]
    else:
        target = _class(value, names, columns, where)
        if columns.values is not None:
            if str(target) not in columns.values:
                return None
            target = columns.values[str(target)]
    fields = {"input": text, "target": target}
    return check_fields(fields | ({} if options is None else {"options": options}), where)


def check_values(rows: Iterable[Mapping[str, Any]], columns: Columns, where: str, names: Sequence[str] | None = None) -> None:
    """Raise DeltaspaceError where `columns.values` leaves out every row: with the values asked for, and those that are there.

    Args:
        rows: all of them.
        columns, names: as for `example_of`.
        where: the file or the split.
    """
    if columns.values is None:
        return
    seen: Counter[str] = Counter()
    for row in rows:
        column = columns.target or _first(row, _TARGETS, where)
        seen[str(_class(_value(row, column, where), names, columns, where))] += 1
    if seen and not any(value in seen for value in columns.values):
        present = ", ".join(f"{shown(value)} ({count})" for value, count in seen.most_common(_LISTED))
        more = f" and {len(seen) - _LISTED} others" if len(seen) > _LISTED else ""
        raise DeltaspaceError(
            f"{where}: 'columns: {{values: …}}' leaves out all of its {counted(sum(seen.values()), 'row')}",
            found=f"the targets {present}{more}",
            expected="one of " + ", ".join(map(shown, columns.values)),
            mend="write under 'values' what the target's column has, each with the label that it means",
        )


def target_column(names: Collection[str], columns: Columns) -> str | None:
    """The column from which the target is read; None where there is none of those that are taken by default."""
    return columns.target or next((name for name in _TARGETS if name in names), None)


def _first(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if name in row:
            return name
    raise DeltaspaceError(f"{where}: no {' or '.join(map(repr, names))}", found=f"the columns {shown([*row])}", mend=_MEND)


def _value(row: Mapping[str, Any], path: str, where: str) -> Any:
    """What a row has in a column; `a.b` and `a.0` are what is inside of column a."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise DeltaspaceError(f"{where}: no column {path!r}", found=f"the columns {shown([*row])}", mend=_MEND)
    return value


def _input(row: Mapping[str, Any], wanted: str, where: str) -> Any:
    if "{" not in wanted:
        return _value(row, wanted, where)
    try:
        return wanted.format_map({name: _joined(value) for name, value in row.items()})
    except KeyError as error:
        raise DeltaspaceError(f"{where}: no column {error}", found=f"the columns {shown([*row])}", mend=_MEND) from None


def _joined(value: Any) -> str:
    """A value inside of an input: a list's entries behind one another."""
    return ", ".join(map(_joined, value)) if isinstance(value, list) else str(_plain(value))


def _plain(value: Any) -> Any:
    """A number or a truth value as the text that people write for it (0.2, not 0.20000000298); anything else as it is."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else value


def _class(value: Any, names: Sequence[str] | None, columns: Columns, where: str) -> Any:
    if names is None or not isinstance(value, int):
        return _plain(value)
    if 0 <= value < len(names):
        return names[value]
    if columns.values is not None:
        return str(value)
    raise DeltaspaceError(f"{where}: no label", found=value, mend="choose a split with labels under 'splits'")


def _options(row: Mapping[str, Any], columns: Columns, where: str) -> list[Any] | None:
    if columns.options is None:
        return None
    if isinstance(columns.options, list):
        return [_value(row, path, where) for path in columns.options]
    value = _value(row, columns.options, where)
    if not isinstance(value, list | tuple):
        raise DeltaspaceError(f"{where}: {columns.options!r} is not a list of texts", found=shown(value), mend=_MEND)
    return list(value)


def _position(value: Any, answer: str, count: int, where: str) -> int:
    """Which option a target names: `index` from 0, `key` by a letter from A or a number from 1."""
    text = str(value).strip()
    if text.isdecimal():
        position = int(text) - (answer == "key")
    else:
        position = ord(text.upper()) - ord("A") if answer == "key" and len(text) == 1 else -1
    if not 0 <= position < count:
        raise DeltaspaceError(
            f"{where}: the target names none of the {count} options",
            found=shown(value),
            expected="A, B … or 1, 2 …" if answer == "key" else f"a number from 0 to {count - 1}",
            mend="correct 'columns: {answer: …}', or choose a split with labels under 'splits'",
        )
    return position
