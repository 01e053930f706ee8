"""Who is told what a run does."""

from __future__ import annotations

from collections.abc import Sequence

from deltaspace.study.artefact import Artefact
from deltaspace.study.folder import State


class Observer:
    """Told what a run does; the command line shows it. Every method does nothing unless a subclass says otherwise."""

    def study(self, name: str) -> None:
        """Called before each study of a parameter sweep."""

    def plan(self, todo: int, done: int) -> None:
        """Called once for a study: artefacts to make, and artefacts that are there and valid."""

    def start(self, artefact: Artefact, reason: State) -> None:
        """An artefact is going to be made, because it is `missing`, `stale` or `damaged`."""

    def progress(self, step: int, steps: int, text: str) -> None:
        """The computation of the artefact that was started last goes on."""

    def end(self, artefact: Artefact) -> None:
        """An artefact is there."""

    def note(self, text: str) -> None:
        """Something was set aside, brought back or passed over, which people should know."""


class Observers(Observer):
    """Several observers, told one after another."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def study(self, name: str) -> None:
        for observer in self._observers:
            observer.study(name)

    def plan(self, todo: int, done: int) -> None:
        for observer in self._observers:
            observer.plan(todo, done)

    def start(self, artefact: Artefact, reason: State) -> None:
        for observer in self._observers:
            observer.start(artefact, reason)

    def progress(self, step: int, steps: int, text: str) -> None:
        for observer in self._observers:
            observer.progress(step, steps, text)

    def end(self, artefact: Artefact) -> None:
        for observer in self._observers:
            observer.end(artefact)

    def note(self, text: str) -> None:
        for observer in self._observers:
            observer.note(text)
