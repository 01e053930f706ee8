"""Who makes which artefact, where several runs make one study: a file for each artefact that is being made.

As with a study's lock (`lock.py`), the system's lock on the file counts, and goes with its process, however that ends. Where the
file lies on a file system that does not pass locks from machine to machine, the claim of another machine holds for as
long as it is renewed; what two machines then still make at once is made twice, and is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import walk
from deltaspace.study.typed import typed

# A claim is renewed this often, and ends when it was not for so long.
RENEW_SECONDS, EXPIRE_SECONDS = 15.0, 90.0
# Whoever makes the file says in it at once whose it is.
_SAID_SECONDS = 5.0
_LONG = 1000
_SUFFIX = ".claim"


class ClaimedElsewhere(Exception):
    """Another process makes the artefact."""


@dataclass(frozen=True)
class Claim:
    """An artefact that is being made.

    Args:
        artefact: its path.
        host: the name of the machine.
        process: its number there.
        since: when it was begun, in UTC, as ISO 8601.
        machine: what tells machines of one name apart.
    """

    artefact: str
    host: str
    process: int
    since: str
    machine: str


class Claims:
    """The claims on one study's artefacts.

    Args:
        folder: where their files are; it is made when the first one is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self, artefact: str) -> Iterator[None]:
        """Claim an artefact for the block.

        Raises:
            ClaimedElsewhere: another process makes it.
            DeltaspaceError: the claim cannot be written.
        """
        path = self._folder / (artefact + _SUFFIX)
        try:
            file = _taken(path)
        except OSError as error:
            raise _unwritable(path, error) from None
        if file is None:
            raise ClaimedElsewhere(artefact)
        ended = threading.Event()
        try:
            try:
                _say(file, artefact)
            except OSError as error:
                raise _unwritable(path, error) from None
            threading.Thread(target=_renew, args=(path, ended), daemon=True).start()
            yield
        finally:
            ended.set()
            path.unlink(missing_ok=True)
            os.close(file)

    @contextmanager
    def awaited(self, name: str) -> Iterator[None]:
        """Hold what every run needs for a moment, when no other one does."""
        while True:
            try:
                with self.held(name):
                    yield
                return
            except ClaimedElsewhere:
                time.sleep(0.05)

    def is_held(self, artefact: str) -> bool:
        """Whether somebody makes an artefact now."""
        return _live(self._folder / (artefact + _SUFFIX)) is not None

    def all(self) -> Iterator[Claim]:
        """What is being made, by whom."""
        for path in self._files():
            # What is held beside artefacts has no stage.
            if path.parent != self._folder and isinstance(claim := _live(path), Claim):
                yield claim

    def clear(self) -> None:
        """Delete what dead processes left."""
        for path in self._files():
            if _live(path) is None:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        listed = walk(self._folder) if self._folder.is_dir() else ()
        return sorted(Path(folder) / name for folder, _, names in listed for name in names if name.endswith(_SUFFIX))


def _taken(path: Path) -> int | None:
    """The file of a claim that is this process's now, locked; None where it is somebody's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file, is_new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), True
    except FileExistsError:
        try:
            file, is_new = os.open(path, os.O_RDWR | os.O_NOFOLLOW), False
        except FileNotFoundError:  # it has just been made
            return None
    taken = False
    try:
        with suppress(BlockingIOError, FileNotFoundError):  # somebody holds it, or has just released it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been released, and the path be another file's, between the two.
            same = os.fstat(file).st_ino == path.stat().st_ino
            taken = same and (is_new or not _renewed_elsewhere(file))
    finally:
        if not taken:
            os.close(file)
    return file if taken else None


def _live(path: Path) -> Claim | bool | None:
    """A claim that holds: what it says, or True where that is not written yet; None where nobody holds it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(file) or True
        return (_said(file) or True) if _renewed_elsewhere(file) else None
    finally:
        os.close(file)


def _renewed_elsewhere(file: int) -> bool:
    """Whether a claim that is not locked here is one that another machine renewed lately."""
    claim, age = _said(file), time.time() - os.fstat(file).st_mtime
    if claim is None:
        return age < _SAID_SECONDS
    return claim.machine != _machine() and age < EXPIRE_SECONDS


def _say(file: int, artefact: str) -> None:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    claim = Claim(artefact, platform.node(), os.getpid(), since, _machine())
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(asdict(claim)).encode(), 0)


def _said(file: int) -> Claim | None:
    with suppress(ValueError, TypeError):
        return typed(Claim, json.loads(os.pread(file, _LONG, 0).decode()))
    return None


def _renew(path: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEW_SECONDS):
        with suppress(FileNotFoundError):
            os.utime(path)


def _machine() -> str:
    booted = Path("/proc/sys/kernel/random/boot_id")
    return booted.read_text(encoding="utf-8").strip() if booted.exists() else platform.node()


def _unwritable(path: Path, error: OSError) -> DeltaspaceError:
    return DeltaspaceError(
        f"{path} cannot be written", found=error.strerror, mend="free some space, or have the right to write there"
    )
