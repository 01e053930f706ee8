"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from deltaspace.errors import DeltaspaceError

# What Linux takes; other systems take less or no more.
_PART, _WHOLE = 255, 4095


def resolved(path: Path) -> Path:
    """The path without links and from the root; one that leads into a loop of links as far as it can be followed."""
    return Path(os.path.realpath(path))  # pathlib's raises in a loop


def path_of(text: str | Path) -> Path:
    """The path that a text means: ~ and ~user are home folders.

    Raises:
        DeltaspaceError: there is no such user, or no path can be so long or have such characters.

    Example:
        >>> path_of("runs/demo").as_posix()
        'runs/demo'
    """
    try:
        path = Path(text).expanduser()
        too_long = len(bytes(path)) > _WHOLE or any(len(part.encode("utf-8", "surrogateescape")) > _PART for part in path.parts)
    except RuntimeError:
        raise DeltaspaceError(f"{text}: there is no such user", expected="a path, or ~ for your home folder") from None
    except UnicodeEncodeError as error:
        raise DeltaspaceError(f"{str(text)!r} is no path", found=error.reason, expected="a path of plain characters") from None
    if too_long or "\0" in str(path):
        found = f"{len(str(text))} characters" if too_long else "a NUL"
        raise DeltaspaceError(f"{str(text)[:60]!r} cannot be a path", found=found, expected=f"names of at most {_PART} bytes")
    return path
