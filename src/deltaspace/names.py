"""One rule for the names of deltas, tasks and landscapes: they are parts of files' paths, and they are shown everywhere."""

from __future__ import annotations

import re

NAME_LIMIT = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(kind: str, name: str) -> str:
    """The name, if it is one.

    Args:
        kind: of what, with its article, such as "a delta".
        name: at most `NAME_LIMIT` letters, digits and _ . -, of which the first is a letter or a digit.

    Raises:
        ValueError: it is not of that form.

    Example:
        >>> check_name("a task", "glue-sst2")
        'glue-sst2'
        >>> check_name("a task", "../evil")
        Traceback (most recent call last):
            ...
        ValueError: '../evil' cannot be a task's name: at most 100 letters, digits, and _ . - inside
    """
    if _NAME.fullmatch(name) is None or len(name) > NAME_LIMIT:
        raise ValueError(f"{name[:NAME_LIMIT]!r} cannot be {kind}'s name: at most {NAME_LIMIT} letters, digits, and _ . - inside")
    return name
