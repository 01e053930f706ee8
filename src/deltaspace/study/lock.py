"""One run of a study at a time.

The system's lock on the file `.lock` counts, and goes with the process that holds it, however that ends. What the file says is
for people alone: a process number that is taken again, or another machine's, keeps nobody out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from deltaspace.errors import DeltaspaceError

LOCK = ".lock"
# What is read of a note: the file may be anything.
_LONG = 300
# Whoever only asks who holds a study has its lock for a moment, in which a run must not be refused.
_ATTEMPTS, _MOMENT_SECONDS = 5, 0.05


@contextmanager
def locked(study: Path) -> Iterator[None]:
    """Hold a study's folder, or a sweep's, which is made if need be.

    Raises:
        DeltaspaceError: another process holds it, or it cannot be written.
    """
    file = _opened(study)
    try:
        _try_lock(study, file, fcntl.LOCK_EX)
        _say(study, file, f"process {os.getpid()} on {platform.node()}, since {_now()}\n")
        try:
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


@contextmanager
def shared(sweep: Path) -> Iterator[None]:
    """Hold a sweep's folder beside others, each of which runs one of its studies.

    Raises:
        DeltaspaceError: the whole sweep is being run by another process, or its folder cannot be written.
    """
    file = _opened(sweep)
    try:
        _try_lock(sweep, file, fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)


def holder(study: Path) -> str | None:
    """Who holds a study's folder, as its note says; None where nobody does."""
    try:
        file = os.open(study / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # no run was ever here, or what is there is no lock
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(file, _LONG, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(file)
    return None


def _try_lock(study: Path, file: int, kind: int) -> None:
    try:
        _take(file, kind)
    except BlockingIOError:
        raise DeltaspaceError(
            f"{study} is being run by another process",
            found=os.pread(file, _LONG, 0).decode(errors="replace").strip() or None,
            mend="wait for it, or choose another --out",
        ) from None
    except OSError as error:
        raise _unusable(study, f"{LOCK}: {error.strerror}") from None


def _take(file: int, kind: int) -> None:
    for _ in range(_ATTEMPTS - 1):
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_MOMENT_SECONDS)
    return fcntl.flock(file, kind | fcntl.LOCK_NB)


def _opened(study: Path) -> int:
    """The lock's file: a plain one of this folder, whose content stays as it is."""
    try:
        study.mkdir(parents=True, exist_ok=True)
        file = os.open(study / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        found = f"{LOCK} is a link" if error.errno == errno.ELOOP and (study / LOCK).is_symlink() else str(error)
        raise _unusable(study, found) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _unusable(study, f"{LOCK} is no plain file")
    return file


def _say(study: Path, file: int, note: str) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, note.encode(), 0)
    except OSError as error:
        raise _unusable(study, f"{LOCK}: {error.strerror}") from None


def _unusable(study: Path, found: str) -> DeltaspaceError:
    return DeltaspaceError(f"study {study} cannot be written", found=found, mend="choose another --out")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
