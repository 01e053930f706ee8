"""Reading files of which nothing is known yet: what is at a path, and JSON."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage.json_text import parse_json

_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def what_is_at(path: Path, *, follow: bool = False) -> str | None:
    """What is at a path, such as "a file" or "a link to X"; None where nothing is. A link is followed only if that is asked for.

    Raises:
        DeltaspaceError: the system does not say, as in a loop of links or behind a file.
    """
    try:
        mode = (path.stat() if follow else path.lstat()).st_mode
        return f"a link to {path.readlink()}" if stat.S_ISLNK(mode) else _KINDS[stat.S_IFMT(mode)]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeltaspaceError(f"{path} cannot be looked at", found=error.strerror, mend="choose another path") from None


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, which passes over what is not there; but a folder that cannot be listed is not taken for an empty one.

    Raises:
        DeltaspaceError: one cannot be.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise DeltaspaceError(
                f"{error.filename} cannot be listed", found=error.strerror, mend="have the right to read it, or choose another"
            )

    return os.walk(folder, onerror=refuse)


@contextmanager
def readable(path: Path, expected: str) -> Iterator[None]:
    """Whatever keeps a file from being read ends as a message.

    Args:
        path: the file.
        expected: what it should be, for the message.

    Raises:
        DeltaspaceError: it is missing, no plain file (which could be read for ever), or cannot be read.
    """
    if (present := what_is_at(path, follow=True)) is None:
        raise DeltaspaceError(f"{path} is missing", expected=expected, mend="correct the path, or put the file back")
    if present != "a file":
        raise DeltaspaceError(f"{path} is {present}", expected=expected, mend="name a file, or put the file back")
    try:
        yield
    except OSError as error:
        raise DeltaspaceError(
            f"{path} cannot be read",
            found=error.strerror or first_line(error),
            expected=expected,
            mend="have the right to read it, or copy it from where it is whole",
        ) from None


def read_json(path: Path) -> Any:
    """Read a JSON file, whoever wrote it.

    Raises:
        DeltaspaceError: the file is missing, cannot be read, is not UTF-8 JSON, or has a key twice in one object.
    """
    with readable(path, "a JSON file"):
        try:
            return parse_json(path.read_bytes(), strict=False)
        except ValueError as error:
            raise DeltaspaceError(
                f"{path} cannot be read",
                found=first_line(error),
                expected="UTF-8 JSON, each key once",
                mend="correct the file, or write, export or download it again",
            ) from None
