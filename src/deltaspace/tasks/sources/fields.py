"""One example from the fields that people write."""

from __future__ import annotations

from collections import Counter
from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import shown
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
            raise DeltaspaceError(f"{where}: no {key!r}", found=f"the keys {shown([*fields])}", expected='"input" and "target"')
        if not isinstance(fields[key], str) or not fields[key].strip():
            raise DeltaspaceError(f"{where}: {key!r} is not a text", found=shown(fields[key]), expected="a non-empty string")
    options = fields.get("options")
    if options is not None:
        if not isinstance(options, list) or not options or not all(isinstance(o, str) and o.strip() for o in options):
            raise DeltaspaceError(f"{where}: 'options' is not a list of texts", found=shown(options), expected="[str, …]")
        if twice := [option for option, count in Counter(options).items() if count > 1]:
            raise DeltaspaceError(f"{where}: the option {twice[0]!r} stands twice", expected="options that can be told apart")
    return Example(fields["input"], fields["target"], tuple(options) if options is not None else None)
