"""Writing files so that nothing half-written is ever left, and where the user's cache is."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltaspace.errors import DeltaspaceError

# What is being written says by which process, so that what a killed one left can be told from what another one writes.
_TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]{1,7})-[0-9a-f]{16}\.tmp", re.DOTALL)


def cache_folder() -> Path:
    """The user's cache folder: `$DELTASPACE_CACHE`, else `$XDG_CACHE_HOME/deltaspace`, else `~/.cache/deltaspace`."""
    if folder := os.environ.get("DELTASPACE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deltaspace"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in a folder beside `path`; on success it is synced and takes `path`'s place at once.

    Raises:
        DeltaspaceError: the disk is full or the folder cannot be written; `path` is as it was before.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: its files are for their owner alone, and a study is often shared.
        # In a folder, since safetensors writes a file beside the one it is asked for.
        temporary = _temporary(path)
        temporary.mkdir()
        written = temporary / "file"
        written.touch(exist_ok=False)
        yield written
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success its files take their places in `path`, each at once, and others there stay.

    Raises:
        DeltaspaceError: as `replacing`; on any error `path` is as it was before.
    """
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            target = path / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_left(paths: Iterable[Path]) -> None:
    """Delete those temporary files and folders whose process on this machine is dead; anything else stays."""
    for path in list(paths):
        name = _TEMPORARY.fullmatch(path.name)
        if name is not None and name["machine"] == _machine() and not _lives(int(name["process"])):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Where something is written before it takes `path`'s place; what killed processes left of that is deleted."""
    clear_left(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _unwritable(path: Path, error: OSError) -> DeltaspaceError:
    reasons = {
        errno.ENOSPC: ("no space left on the disk", "free some space, then run the same command: finished work is kept"),
        errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command: finished work is kept"),
        errno.EACCES: ("permission denied", "choose a folder that you may write to"),
        errno.EROFS: ("a read-only file system", "choose a folder that you may write to"),
    }
    reason, mend = reasons.get(error.errno or 0, (str(error), "choose another folder"))
    return DeltaspaceError(f"cannot write {path}", found=reason, mend=mend)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_copy(source: Path, path: Path) -> None:
    """Copy a file atomically."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DeltaspaceError: the file is missing or is not UTF-8 JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeltaspaceError(f"{path} is missing", expected="a JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DeltaspaceError(f"{path} cannot be read", found=str(error), expected="UTF-8 JSON") from None
