"""What ran where, and how it ended: an entry for every run of a study that made something or was interrupted, in `runs.json`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from deltaspace.devices import default_device
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.interruption import Interrupted
from deltaspace.precision import chosen_precision
from deltaspace.storage import read_json, seal_holds, sealed, write_json
from deltaspace.study.artefact import Artefact
from deltaspace.study.files import RUNS
from deltaspace.study.folder import Folder, State
from deltaspace.study.observer import Observer, Worker
from deltaspace.study.stage import STAGES
from deltaspace.study.typed import typed

FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True)
class RunRecord:
    """One run of a study that made something.

    Args:
        started: when, in UTC, as ISO 8601.
        until: the last stage that it was asked for; None for all.
        artefacts: how many it made, by the stage's title.
        seconds: how long that took, by the stage's title.
        machine: where it ran.
        versions: of what numbers depend on.
        ended: `finished`, `failed`, or by which signal: `interrupted by SIGINT`.
        workers: how many artefacts each process made, by the stage's title, where several did: `process 7 on host`.
        failed: why artefacts could not be made, by path.
    """

    started: str
    until: str | None
    artefacts: dict[str, int]
    seconds: dict[str, float]
    machine: dict[str, Any]
    versions: dict[str, str]
    ended: str = FINISHED
    workers: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it."""
        return self.ended.startswith("interrupted")


class Log(Observer):
    """Seconds and artefacts of each stage of a run, and who made them; in the end a record of it.

    Args:
        folder: the study's.
        until: the last stage that the run is asked for.
    """

    def __init__(self, folder: Path, until: str | None = None) -> None:
        self._folder, self._until, self._begun = folder, until, _now()
        self.seconds: dict[str, float] = {}
        self.artefacts: dict[str, int] = {}
        self.workers: dict[str, dict[str, int]] = {}
        self.given_up: dict[str, str] = {}
        self._worker: Worker | None = None
        self._started: dict[Worker | None, float] = {}

    def worker(self, worker: Worker) -> None:
        self._worker = worker

    def start(self, artefact: Artefact, reason: State) -> None:
        self._started[self._worker] = time.perf_counter()

    def end(self, artefact: Artefact) -> None:
        title, now = STAGES[artefact.stage].title, time.perf_counter()
        self.seconds[title] = self.seconds.get(title, 0.0) + now - self._started.get(self._worker, now)
        self.artefacts[title] = self.artefacts.get(title, 0) + 1
        if self._worker is not None:
            made = self.workers.setdefault(str(self._worker), {})
            made[title] = made.get(title, 0) + 1

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        if not again:
            self.given_up[artefact.path] = why

    @property
    def heard(self) -> bool:
        """Whether an artefact was begun, or given up."""
        return bool(self._started or self.given_up)

    def write(self, ended: str, observer: Observer) -> None:
        """Add a record to the study's history, unless nothing was made, and this run and the one before were not interrupted.

        Args:
            ended: how the run ended.
            observer: told where the records of earlier runs are damaged; they are set aside then.
        """
        # Several runs of one study may end at once.
        with Folder(self._folder).claims.awaited(RUNS):
            self._write(ended, observer)

    def _write(self, ended: str, observer: Observer) -> None:
        history = _earlier(self._folder, observer)
        # A run that finished with nothing to do says that what an earlier one left open is there.
        closing = ended == FINISHED and history and history[-1].interrupted
        if self.artefacts or self.given_up or ended.startswith("interrupted") or closing:
            seconds = {title: round(spent, 1) for title, spent in self.seconds.items()}
            told = (self.artefacts, seconds, machine(), versions(), ended, self.workers, self.given_up)
            record = RunRecord(self._begun, self._until, *told)
            write_json(self._folder / RUNS, [sealed(asdict(listed)) for listed in [*history, record]])


@contextmanager
def logged(folder: Path, until: str | None, observer: Observer) -> Iterator[Log]:
    """Keep a record of this run and of how it ended; none where nothing was made, unless it or the one before was interrupted.

    Args:
        folder: the study's.
        until: the last stage that it is asked for.
        observer: told where the records of earlier runs are damaged; they are set aside then.
    """
    log = Log(folder, until)
    ended = FAILED
    try:
        yield log
        ended = FINISHED
    except KeyboardInterrupt as error:
        ended = ended_by(error)
        raise
    finally:
        log.write(ended, observer)


def ended_by(error: BaseException) -> str:
    """How a run ended that this error ended."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) if isinstance(error, Interrupted) else "interrupted by SIGINT"
    return FAILED


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _earlier(folder: Path, observer: Observer) -> list[RunRecord]:
    try:
        return read_history(folder)
    except DeltaspaceError as error:
        observer.note(f"{error.what} ({error.found}): set aside under superseded/, and begun anew")
        Folder(folder).set_aside(RUNS)
        return []


def read_history(folder: Path | str) -> list[RunRecord]:
    """The runs of a study, the first first.

    Raises:
        DeltaspaceError: the file that keeps them is damaged.
    """
    path = Path(folder) / RUNS
    listed = read_json(path) if path.exists() else []
    try:
        if not isinstance(listed, list):
            raise TypeError(f"{type(listed).__name__}, not a list")
        if not all(isinstance(record, dict) and seal_holds(record) for record in listed):
            raise ValueError("what it says does not match its digest")
        return [typed(RunRecord, {name: said for name, said in record.items() if name != "digest"}) for record in listed]
    except (TypeError, ValueError) as error:
        raise DeltaspaceError(
            f"{path} is damaged",
            found=first_line(error),
            expected="a JSON list of runs",
            mend="delete it: only the history is lost",
        ) from None


def machine() -> dict[str, Any]:
    """Where and how this runs: system, processor, cores, accelerator, precision of products, Python."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": device,
        "precision": chosen_precision(default_device()),
        "python": platform.python_version(),
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("deltaspace")
    except PackageNotFoundError:
        raise DeltaspaceError("deltaspace is not installed", mend="pip install -e .") from None
    return {"deltaspace": installed, "torch": torch.__version__, "transformers": version("transformers"), "peft": version("peft")}
