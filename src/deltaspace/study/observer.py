"""Who is told what a run does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deltaspace.study.artefact import Artefact
from deltaspace.study.folder import State


class Worker(NamedTuple):
    """A process that makes artefacts.

    Args:
        host: the name of its machine.
        process: its number there.
    """

    host: str
    process: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class Observer:
    """Told what a run does; the command line shows it. Every method does nothing unless a subclass says otherwise."""

    def plan(self, todo: int, done: int) -> None:
        """Called once for a study, or a parameter sweep: artefacts to make, and artefacts that are there and valid."""

    def worker(self, worker: Worker) -> None:
        """What is told from now on is of this worker; not called where this process makes all."""

    def start(self, artefact: Artefact, reason: State) -> None:
        """An artefact is going to be made, because it is `missing`, `stale` or `damaged`."""

    def progress(self, step: int, steps: int, text: str) -> None:
        """The computation of the artefact that was started last (by this worker) goes on."""

    def end(self, artefact: Artefact) -> None:
        """An artefact is there."""

    def elsewhere(self, artefact: Artefact) -> None:
        """An artefact is there that another run made: one on the same study, or an earlier one from which it was brought back."""

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        """An artefact could not be made, and is begun again, or given up; everything else goes on."""

    def left(self, seconds: float) -> None:
        """About so long the study is going to take from now on."""

    def note(self, text: str) -> None:
        """Something was set aside, brought back or passed over, which people should know."""


class Observers(Observer):
    """Several observers, told one after another."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def plan(self, todo: int, done: int) -> None:
        for observer in self._observers:
            observer.plan(todo, done)

    def worker(self, worker: Worker) -> None:
        for observer in self._observers:
            observer.worker(worker)

    def start(self, artefact: Artefact, reason: State) -> None:
        for observer in self._observers:
            observer.start(artefact, reason)

    def progress(self, step: int, steps: int, text: str) -> None:
        for observer in self._observers:
            observer.progress(step, steps, text)

    def end(self, artefact: Artefact) -> None:
        for observer in self._observers:
            observer.end(artefact)

    def elsewhere(self, artefact: Artefact) -> None:
        for observer in self._observers:
            observer.elsewhere(artefact)

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        for observer in self._observers:
            observer.failed(artefact, why, again=again)

    def left(self, seconds: float) -> None:
        for observer in self._observers:
            observer.left(seconds)

    def note(self, text: str) -> None:
        for observer in self._observers:
            observer.note(text)
