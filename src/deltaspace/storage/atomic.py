"""Writing files and folders so that nothing half-written is ever left, and nothing is written through a link."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.reading import what_is_at

_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{16}\.tmp")
# Of a name in that of its temporary folder: file systems allow 255 bytes.
_LONG = 40
_FRESH_SECONDS = 60
# What safetensors' errors say of the system's.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_EXCHANGE, _HERE = 2, -100


def cache_folder() -> Path:
    """The user's cache folder: `$DELTASPACE_CACHE`, else `$XDG_CACHE_HOME/deltaspace`, else `~/.cache/deltaspace`."""
    if folder := os.environ.get("DELTASPACE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deltaspace"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is synced and takes `path`'s place at once, with the user's usual mode.

    Raises:
        DeltaspaceError: what is there is no plain file, the disk is full, or the folder cannot be written; `path` is as it was.
    """
    with _beside(path, "a file") as temporary:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        _settle(temporary, mode)
        temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; on success it takes the place of `path` whole, and of all that is in it.

    Raises:
        DeltaspaceError: as `replacing`, and where a file is there.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - "." has no name, and links stay links
    with _beside(path, "a folder") as temporary:
        temporary.mkdir()
        probe = temporary / ".mode"
        probe.touch()
        mode = probe.stat().st_mode
        probe.unlink()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _settle(file, mode)
        swap(temporary, path)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, for what is needed until that is written: it goes in the end, and of a process that was
    killed with the next write there.

    Raises:
        DeltaspaceError: as `replacing_folder`.
    """
    with _beside(Path(os.path.abspath(path)), "a folder") as temporary:  # noqa: PTH100 - links stay links
        temporary.mkdir()
        yield temporary


def swap(new: Path, path: Path) -> None:
    """Put a folder in the place of another, or of none; what was at `path` is at `new` then, if anything was.

    Raises:
        OSError: it cannot be; both are as they were.
    """
    if not path.is_dir() or not any(path.iterdir()):
        new.replace(path)
    elif not _exchanged(new, path):
        # A file system without exchange: for a moment there is nothing at `path`.
        old = new.with_name(f"{new.name}.old")
        path.replace(old)
        try:
            new.replace(path)
        except OSError:
            old.replace(path)
            raise


def _exchanged(first: Path, second: Path) -> bool:
    """Have two paths change their places at once, where the system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(second))


@contextmanager
def _beside(path: Path, kind: str) -> Iterator[Path]:
    """Yield a path in a temporary folder beside `path`, which goes in the end; what dead processes left there goes first."""
    present = what_is_at(path)
    if present not in (None, kind):
        raise DeltaspaceError(
            f"cannot write {path}", found=f"{present} is there", expected=f"{kind}, or nothing", mend="choose another path"
        )
    folder: Path | None = None
    lock = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_left(path.parent.iterdir())
        folder = path.parent / f".{path.name[:_LONG]}.{secrets.token_hex(8)}.tmp"
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield folder / path.name
    except OSError as error:
        raise _unwritable(path, error) from error
    except Exception as error:
        # safetensors has an error of its own for all that the system says.
        if type(error).__name__ == "SafetensorError" and (said := _OS_ERROR.search(str(error))) is not None:
            raise _unwritable(path, OSError(int(said[1]), os.strerror(int(said[1])))) from error
        raise
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def is_temporary(name: str) -> bool:
    """Whether a folder of this name is one in which a file is written before it takes its place."""
    return _LEFTOVER.fullmatch(name) is not None


def clear_left(folders: Iterable[Path]) -> None:
    """Delete those temporary folders that dead processes left: living ones hold theirs locked."""
    for left in folders:
        if is_temporary(left.name) and not left.is_symlink() and left.is_dir() and not _living(left):
            shutil.rmtree(left, ignore_errors=True)


def _living(folder: Path) -> bool:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        # One that is new and empty may be another process's, which is about to lock it.
        if next(folder.iterdir(), None) is None and time.time() - folder.stat().st_mtime < _FRESH_SECONDS:
            return True
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _settle(file: Path, mode: int) -> None:
    """Give a file the user's usual mode, and have it on the disk."""
    file.chmod(stat.S_IMODE(mode))
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _unwritable(path: Path, error: OSError) -> DeltaspaceError:
    space = "free some space, then run the same command: finished work is kept"
    writable = "choose a folder that you may write to"
    reasons = {
        errno.ENOSPC: ("no space left on the disk", space),
        errno.EDQUOT: ("the disk quota is used up", space),
        errno.EFBIG: ("files may not be that large here", space),
        errno.EACCES: ("permission denied", writable),
        errno.EPERM: ("permission denied", writable),
        errno.EROFS: ("a read-only file system", writable),
        errno.ELOOP: ("a link that leads to itself", "choose another folder"),
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
