"""Where the command line starts, and how it ends: 0, a user's mistake 2, a signal 128 + its number (Ctrl-C 130)."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import suppress
from signal import Signals
from typing import NoReturn

from deltaspace.cli._terminal import broken_pipe, console
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import Interrupted, arrived, interruptible

_SHOWN = 300
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What the system says of a path that somebody named.
_DENIED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.EIO,
    errno.ESTALE,
)


def main() -> None:
    """Run the command line. Its verbs are imported only now, when signals are heard already."""
    try:
        with interruptible():
            code = _verb()
            if (number := arrived()) is not None:
                code = _interrupted(number)
    except Interrupted as interrupted:  # it came when the verb had just ended
        code = _interrupted(interrupted.signal)
    _end(code)


def _end(code: int) -> NoReturn:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        # The threads of a process group may still ask for the interpreter, and abort the process where that is just ending.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a broken pipe: told before
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _interrupted(number: Signals) -> int:
    _tell(
        f"interrupted by {number.name}: what is finished is kept, and nothing is half written\n"
        f"to go on: {shlex.join(['deltaspace', *sys.argv[1:]])}"
    )
    return 128 + number


def _verb() -> int:
    """The exit code of the verb that was asked for."""
    code: str | int | None = 0
    try:
        _run_verb()
    except DeltaspaceError as error:
        _tell(f"error: {error}", style="red")
        code = 2
    except SystemExit as ended:
        code = ended.code
    except OSError as error:
        # Files are written by `replacing`, which tells: what is full without a name is what the output goes to.
        if error.filename is not None and error.errno in _DENIED:
            denied = f"error: {str(error.filename)[:_SHOWN]} cannot be read or written\n  found: {error.strerror}\n"
            _tell(f"{denied}  mend: choose another path, or have the right to this one", style="red")
            code = 2
        elif error.filename is not None or error.errno not in _FULL:
            raise
        else:
            code = _no_output(error)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = broken_pipe()
    except OSError as error:
        code = _no_output(error)
    return code if isinstance(code, int) else 0


def _run_verb() -> None:
    """Run the verb. Where a signal came, `main` tells of that alone: libraries make exceptions of their own of the signal's."""
    try:
        from deltaspace.cli import application

        application.app()
    except (Exception, KeyboardInterrupt):
        if arrived() is None:
            raise


def _no_output(error: OSError) -> int:
    _tell(f"error: the output cannot be written\n  found: {error.strerror}", style="red")
    broken_pipe()
    return 2


def _tell(text: str, style: str | None = None) -> None:
    try:
        console(stderr=True).print(text, style=style, highlight=False, soft_wrap=True)
    except OSError:  # the terminal is closed, or what it was piped into
        broken_pipe()
