"""One run of a study at a time, or several that know of each other.

The system's lock on the file `.lock` counts, and goes with the process that holds it, however that ends. What the file says is
for people alone: a process number that is taken again, or another machine's, keeps nobody out.

A run begins alone: it writes the recipe. Then it shares the study, so that others may join it, but none may begin another one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from deltaspace.errors import DeltaspaceError

LOCK = ".lock"
_NOTE = re.compile(r"process (?P<process>\d{1,9}) on (?P<host>.+), since ")
# What is read of a note: the file may be anything.
_LONG = 300
# Whoever only asks who holds a study has its lock for a moment, in which a run must not be refused.
_ATTEMPTS, _MOMENT_SECONDS = 5, 0.05


class HeldElsewhere(DeltaspaceError):
    """A study, or a sweep, is being run by another process."""


class Hold:
    """A study that is held.

    Args:
        file: its lock's.
        joined: whether another run holds it too.
    """

    def __init__(self, file: int, joined: bool) -> None:
        self._file, self.joined = file, joined

    def share(self) -> None:
        """Let others join."""
        fcntl.flock(self._file, fcntl.LOCK_SH)


@contextmanager
def locked(study: Path, *, join: bool = False) -> Iterator[Hold]:
    """Hold a study's folder, or a sweep's, which is made if need be.

    Args:
        study: the folder.
        join: where another run holds it, wait until that shares it, and hold it beside.

    Raises:
        HeldElsewhere: another process holds it.
        DeltaspaceError: it cannot be written.
    """
    file = _opened(study)
    try:
        joined = _join(study, file) if join else False
        if not joined and not join:
            _try_lock(study, file, fcntl.LOCK_EX)
        if not joined:
            _say(study, file, f"process {os.getpid()} on {platform.node()}, since {_now()}\n")
        try:
            yield Hold(file, joined)
        finally:
            if not joined:
                os.ftruncate(file, 0)
    finally:
        os.close(file)


def _join(study: Path, file: int) -> bool:
    """Hold it alone, or beside a run that shares it; whether it is beside one."""
    while True:
        for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            with suppress(HeldElsewhere):
                _try_lock(study, file, kind)
                return kind == fcntl.LOCK_SH


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
        # Runs that let others join share it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _note(file) or "another process"
    finally:
        os.close(file)
    return None


def _note(file: int) -> str:
    """What a lock's file says of who holds it. Who wrote it may be dead, and those that joined it hold the lock on."""
    note = os.pread(file, _LONG, 0).decode(errors="replace").strip()
    said = _NOTE.match(note)
    if said is None or said["host"] != platform.node() or _is_alive(int(said["process"])):
        return note
    return f"what joined {note}, which has ended"


def _is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _try_lock(study: Path, file: int, kind: int) -> None:
    try:
        _take(file, kind)
    except BlockingIOError:
        raise HeldElsewhere(
            f"{study} is being run by another process",
            found=_note(file) or None,
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
