"""Where the command line starts, and how it ends: 0, a user's mistake 2, a signal 128 + its number (Ctrl-C 130)."""

from __future__ import annotations

import shlex
import sys

from deltaspace.cli._terminal import broken_pipe, console
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import arrived, interruptible


def main() -> None:
    """Run the command line. Its verbs are imported only now, when signals are heard already."""
    with interruptible():
        code = _verb()
        if (number := arrived()) is not None:
            _tell(
                f"interrupted by {number.name}: what is finished is kept, and nothing is half written\n"
                f"to go on: {shlex.join(['deltaspace', *sys.argv[1:]])}"
            )
            code = 128 + number
    sys.exit(code)


def _verb() -> int:
    """The exit code of the verb that was asked for. typer ends a `KeyboardInterrupt` in its own way: the signal counts."""
    code: str | int | None = 0
    try:
        from deltaspace.cli import application

        application.app()
    except DeltaspaceError as error:
        _tell(f"error: {error}", style="red")
        code = 2
    except SystemExit as ended:
        code = ended.code
    except (KeyboardInterrupt, OSError):
        if arrived() is None:
            raise
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = broken_pipe()
    except OSError as error:
        _tell(f"error: the output cannot be written: {error.strerror}", style="red")
        broken_pipe()
        code = 2
    return code if isinstance(code, int) else 0


def _tell(text: str, style: str | None = None) -> None:
    try:
        console(stderr=True).print(text, style=style, highlight=False, soft_wrap=True)
    except OSError:  # the terminal is closed, or what it was piped into
        broken_pipe()
