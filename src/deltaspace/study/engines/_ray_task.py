"""What runs on Ray's side: the task of an artefact, and a board on which tasks say how far they are. Ray is not imported here."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from deltaspace.interruption import interruptible
from deltaspace.precision import in_precision
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.making import Making, said_of
from deltaspace.study.folder import State
from deltaspace.study.observer import Observer

# Between two words on how far a training is.
_TELL_SECONDS = 2.0

# Processes of Ray make one task after another.
_MAKING = Making()


class Board:
    """An actor: what tasks said since it was read last."""

    def __init__(self) -> None:
        self._said: list[dict[str, Any]] = []

    def tell(self, said: dict[str, Any]) -> None:
        """Called by tasks."""
        self._said.append(said)

    def take(self) -> list[dict[str, Any]]:
        """Called by whoever runs the study."""
        said, self._said = self._said, []
        return said


def make(job: dict[str, Any], of: str, board: Any, cwd: str, precision: str | None) -> dict[str, Any]:
    """Make an artefact in the shared folder.

    Args:
        job: the arguments of `Making.make`.
        of: what tells this try from all others.
        board: a handle of the `Board`.
        cwd: where the run was started, from which relative paths of a recipe go; taken where this machine has it.
        precision: that was asked for where the run was started.

    Returns:
        What came of it, and where.
    """
    if Path(cwd).is_dir():
        os.chdir(cwd)
    said = {"of": of, "host": platform.node(), "process": os.getpid()}
    with interruptible(), in_precision(precision):
        return {**said, **said_of(_MAKING, job, _Telling(board, said))}


class _Telling(Observer):
    """Tells the board, and does not wait for it."""

    def __init__(self, board: Any, said: dict[str, Any]) -> None:
        self._board, self._said, self._told = board, said, 0.0

    def start(self, artefact: Artefact, reason: State) -> None:
        self._tell(what="start")

    def progress(self, step: int, steps: int, text: str) -> None:
        if (now := time.monotonic()) - self._told > _TELL_SECONDS:
            self._told = now
            self._tell(what="progress", steps=[step, steps], text=text)

    def note(self, text: str) -> None:
        self._tell(what="note", text=text)

    def _tell(self, **said: Any) -> None:
        self._board.tell.remote({**self._said, **said})
