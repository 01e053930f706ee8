"""How a signal ends a computation: as an exception, and never where something is half changed.

A signal that comes while the exception of the first one is on its way is not heard: nothing disturbs what is being saved.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Handlers that are replaced: whoever set another one, or ignores a signal (nohup), is left alone.
_DEFAULT = (signal.SIG_DFL, signal.default_int_handler)

_arrived: signal.Signals | None = None
_held = 0


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"interrupted by {self.signal.name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Interrupted` in the block; handlers are as before behind it.

    Only in the main thread, as Python has signals there alone, and only in place of the default handlers.

    Raises:
        Interrupted: a signal came.
    """
    global _arrived
    replaced, unraisable = {}, sys.unraisablehook

    def quietly(args: sys.UnraisableHookArgs) -> None:
        # Python swallows what is raised while it frees an object; `check` raises it again.
        if not isinstance(args.exc_value, Interrupted):
            unraisable(args)

    try:
        if _in_main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) in _DEFAULT:
                    replaced[number] = signal.signal(number, _arrive)
        if replaced:
            sys.unraisablehook = quietly
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        if replaced:
            sys.unraisablehook, _arrived = unraisable, None


@contextmanager
def held() -> Iterator[None]:
    """Signals wait for the block's end: what it changes is changed whole.

    Raises:
        Interrupted: a signal came.
    """
    global _held
    if not _in_main_thread():
        yield
        return
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    check()


def check() -> None:
    """Raise what a signal asked for, where it had to wait or a library swallowed it.

    Raises:
        Interrupted: a signal came.
    """
    if _arrived is not None and not _held and _in_main_thread():
        raise Interrupted(_arrived)


def arrived() -> signal.Signals | None:
    """The signal that came in the block of `interruptible`, if one did."""
    return _arrived


def _arrive(number: int, frame: object) -> None:
    global _arrived
    if _arrived is None:
        _arrived = signal.Signals(number)
        check()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
