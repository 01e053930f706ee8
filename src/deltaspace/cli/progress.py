"""What a person sees of a run: two bars with rates and time left, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deltaspace.study import STAGES, Observer

if TYPE_CHECKING:
    from deltaspace.study import Artefact


class Bars(Observer):
    """Artefacts of the study above, steps of the running training below. `seconds` is the time of each
    stage, by its title; `notes` counts what was told beside that."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._artefacts: TaskID | None = None
        self._steps: TaskID | None = None
        self._started = 0.0
        self._made = 0
        self.seconds: dict[str, float] = {}
        self.notes = 0

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._made:
            self._console.print(f"{self._made} artefacts were made and are kept", highlight=False)

    def study(self, name: str) -> None:
        self._console.print(name, style="bold", highlight=False)

    def plan(self, todo: int, done: int) -> None:
        if self._artefacts is not None:
            self._progress.remove_task(self._artefacts)
            self._artefacts = None
        if todo:
            self._console.print(f"{done} artefacts are there and valid, {todo} to make", highlight=False)
            self._artefacts = self._progress.add_task("study", total=todo, note="", rate="")

    def note(self, text: str) -> None:
        self.notes += 1
        self._console.print(text, highlight=False)

    def start(self, artefact: Artefact, reason: str) -> None:
        self._console.print(f"{artefact.path} ({reason})", highlight=False)
        self._started = time.perf_counter()

    def progress(self, step: int, steps: int, text: str) -> None:
        if self._steps is None:
            self._steps = self._progress.add_task("steps", total=steps, note=text, rate="")
        speed = self._progress.tasks[self._progress.task_ids.index(self._steps)].speed
        rate = f"{speed:.1f}/s" if speed else ""
        self._progress.update(self._steps, completed=step, total=steps, note=text, rate=rate)

    def end(self, artefact: Artefact) -> None:
        self._made += 1
        title = STAGES[artefact.stage].title
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - self._started
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None
        if self._artefacts is not None:
            self._progress.advance(self._artefacts)
