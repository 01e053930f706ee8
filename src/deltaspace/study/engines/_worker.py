"""The process of a worker: a line of JSON comes for each artefact, lines of JSON go back. It ends with whoever started it."""

from __future__ import annotations

import json
import os
import platform
import queue
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from transformers.utils import logging

from deltaspace.interruption import Interrupted, interruptible
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.making import Making, said_of
from deltaspace.study.folder import State
from deltaspace.study.observer import Observer

# Between two words on how far a training is.
_TELL_SECONDS = 0.5


def main(descriptor: int) -> None:
    """Make what is asked for on a socket until it is closed.

    Args:
        descriptor: the socket's.
    """
    code = 0
    try:
        with interruptible(), socket.socket(fileno=descriptor) as channel:
            jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
            threading.Thread(target=_read, args=(channel, jobs), daemon=True).start()
            _send(channel, what="ready", host=platform.node(), process=os.getpid())
            # Their bars and hints would break those of whoever shows a run.
            logging.set_verbosity_error()
            logging.disable_progress_bar()
            making = Making()
            while (job := jobs.get()) is not None:
                _send(channel, **said_of(making, job, _Telling(channel)))
    except Interrupted as interrupted:
        code = 128 + interrupted.signal
    except ConnectionError:  # nobody hears it any more
        code = 1
    os._exit(code)  # the other thread reads


def _read(channel: socket.socket, jobs: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Pass on jobs. Where the socket is closed, whoever started this process is dead, and it must not go on beside a new run."""
    # Where it died with something unread, the socket is reset.
    with suppress(ConnectionError), channel.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            said = json.loads(line)
            jobs.put(said)
            if said is None:
                return
    os._exit(1)


class _Telling(Observer):
    """Sends what an observer is told."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._told = channel, 0.0

    def start(self, artefact: Artefact, reason: State) -> None:
        _send(self._channel, what="start")

    def progress(self, step: int, steps: int, text: str) -> None:
        if (now := time.monotonic()) - self._told > _TELL_SECONDS or step == steps:
            self._told = now
            _send(self._channel, what="progress", steps=[step, steps], text=text)

    def note(self, text: str) -> None:
        _send(self._channel, what="note", text=text)


def _send(channel: socket.socket, **said: Any) -> None:
    channel.sendall((json.dumps(said) + "\n").encode())
