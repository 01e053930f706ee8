"""What a person sees of a run: a bar for the study and one for each worker, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deltaspace.names import counted
from deltaspace.study import STAGES, Observer

if TYPE_CHECKING:
    from deltaspace.study import Artefact, Worker


class Bars(Observer):
    """Artefacts of the study above, steps of each artefact that is being made below. `seconds` is the time of each stage, by its
    title; `notes` counts what was told beside that."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._artefacts: TaskID | None = None
        self._planned = 0.0
        self._worker: Worker | None = None
        # By worker: its line, and when it began what it makes.
        self._lines: dict[Worker | None, TaskID] = {}
        self._started: dict[Worker | None, float] = {}
        self._made = self._made_here = 0
        self.seconds: dict[str, float] = {}
        self.notes = 0

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._made:
            self._console.print(
                f"{counted(self._made, 'artefact')} made and kept",
                highlight=False,
            )

    def plan(self, todo: int, done: int) -> None:
        if self._artefacts is not None:
            self._progress.remove_task(self._artefacts)
            self._artefacts = None
        self._planned, self._made_here = time.perf_counter(), 0
        if todo:
            self._console.print(
                f"{counted(done, 'artefact')} {'is' if done == 1 else 'are'} there and valid, {todo} to make", highlight=False
            )
            self._artefacts = self._progress.add_task("study", total=todo, note="", rate="")

    def note(self, text: str) -> None:
        self.notes += 1
        self._console.print(text, highlight=False, soft_wrap=True)

    def worker(self, worker: Worker) -> None:
        self._worker = worker

    def start(self, artefact: Artefact, reason: str) -> None:
        by = "" if self._worker is None else f", {self._worker}"
        self._console.print(f"{artefact.path} ({reason}){by}", highlight=False, soft_wrap=True)
        self._started[self._worker] = time.perf_counter()
        if self._worker is not None:
            self._line(artefact.path.rpartition(".")[0])

    def progress(self, step: int, steps: int, text: str) -> None:
        line = self._lines.get(self._worker)
        if line is None:
            line = self._line("steps")
        speed = self._progress.tasks[self._progress.task_ids.index(line)].speed
        rate = f"{speed:.1f}/s, {_time(max(steps - step, 0) / speed)}" if speed else ""
        self._progress.update(line, completed=step, total=steps, note=text, rate=rate)

    def end(self, artefact: Artefact) -> None:
        self._made += 1
        self._made_here += 1
        title, now = STAGES[artefact.stage].title, time.perf_counter()
        self.seconds[title] = self.seconds.get(title, 0.0) + now - self._started.get(self._worker, now)
        self._remove_line()
        if self._artefacts is not None:
            self._progress.advance(self._artefacts)
            spent = now - self._planned
            self._progress.update(self._artefacts, rate=f"{60 * self._made_here / spent:.1f} a minute" if spent else "")

    def elsewhere(self, artefact: Artefact) -> None:
        self._console.print(f"{artefact.path} (made by another run)", highlight=False, soft_wrap=True)
        if self._artefacts is not None:
            self._progress.advance(self._artefacts)

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        self.notes += 1
        self._remove_line()
        what = "is begun again" if again else "could not be made"
        self._console.print(f"{artefact.path} {what}: {why}", highlight=False, soft_wrap=True)

    def left(self, seconds: float) -> None:
        if self._artefacts is not None:
            self._progress.update(self._artefacts, note=f"about {_time(seconds)} left")

    def _line(self, description: str) -> TaskID:
        self._remove_line()
        self._lines[self._worker] = self._progress.add_task(description, total=None, note="", rate="")
        return self._lines[self._worker]

    def _remove_line(self) -> None:
        if (line := self._lines.pop(self._worker, None)) is not None:
            self._progress.remove_task(line)


def _time(seconds: float) -> str:
    """A time in the largest unit of which it has two."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
