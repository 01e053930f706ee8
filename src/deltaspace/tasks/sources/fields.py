"""One example from the fields that people write."""

from __future__ import annotations

from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks.task import Example


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
