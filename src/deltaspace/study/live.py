"""How far a run is, in a file that others may read while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, write_json
from deltaspace.study.artefact import Artefact
from deltaspace.study.folder import Folder, State
from deltaspace.study.observer import Observer, Worker
from deltaspace.study.typed import typed

# Between two versions of the file.
_EVERY_SECONDS = 1.0


@dataclass
class Running:
    """An artefact that is being made.

    Args:
        artefact: its path.
        worker: who makes it: `process 7 on host`; "" where that is the process of the run.
        since: when it was begun, in UTC, as ISO 8601.
        step: of its training.
        steps: in all; 0 where it has none.
        text: on its training.
    """

    artefact: str
    worker: str
    since: str
    step: int = 0
    steps: int = 0
    text: str = ""


@dataclass
class Live:
    """A run under way.

    Args:
        started: when, in UTC, as ISO 8601.
        todo: how many artefacts it has to make.
        done: how many of them it made, brought back, or saw that a run beside it had made; that may have made more by now.
        seconds_left: about so long it is going to take; None where that is not known yet.
        running: what is being made.
        failed: what could not be made, and why.
    """

    started: str
    todo: int = 0
    done: int = 0
    seconds_left: float | None = None
    running: list[Running] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@contextmanager
def live(folder: Folder) -> Iterator[Observer]:
    """An observer that keeps the file, which goes with the block."""
    folder.live.unlink(missing_ok=True)
    try:
        yield _Telling(folder)
    finally:
        folder.live.unlink(missing_ok=True)


def read_live(folder: Folder) -> Live | None:
    """What a run said last; None where it said nothing yet.

    Raises:
        DeltaspaceError: the file is damaged.
    """
    if not folder.live.exists():
        return None
    try:
        said = read_json(folder.live)
        return typed(Live, said)
    except ValueError as error:
        raise DeltaspaceError(f"{folder.live} is damaged", found=str(error), mend="wait for the run to write it again") from None


class _Telling(Observer):
    """Writes the file, but not at every step."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.live
        self._live = Live(_now())
        self._running: dict[Worker | None, Running] = {}
        self._worker: Worker | None = None
        self._written = float("-inf")

    def plan(self, todo: int, done: int) -> None:
        self._live.todo = todo

    def worker(self, worker: Worker) -> None:
        self._worker = worker

    def start(self, artefact: Artefact, reason: State) -> None:
        self._running[self._worker] = Running(artefact.path, str(self._worker or ""), _now())
        self._write()

    def progress(self, step: int, steps: int, text: str) -> None:
        running = self._running[self._worker]
        running.step, running.steps, running.text = step, steps, text
        self._write()

    def end(self, artefact: Artefact) -> None:
        self._running.pop(self._worker, None)
        self._live.done += 1
        self._write()

    def elsewhere(self, artefact: Artefact) -> None:
        self._live.done += 1
        self._write()

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        self._running.pop(self._worker, None)
        if not again:
            self._live.failed[artefact.path] = why
        self._write()

    def left(self, seconds: float) -> None:
        self._live.seconds_left = round(seconds, 1)

    def _write(self) -> None:
        if (now := time.monotonic()) - self._written > _EVERY_SECONDS:
            self._written = now
            self._live.running = list(self._running.values())
            write_json(self._path, asdict(self._live))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
