"""What verbs print with."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

    from deltaspace.cli.progress import Bars

_WIDTH = 100
# By which huggingface_hub, datasets and tqdm are told to draw no bars.
_BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")


# A terminal does what control characters say; a line's end and a tab are only themselves.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _Console(Console):
    """A console that shows what would control the terminal, and says when nobody reads it, in place of ending the process."""

    def render_str(self, text: str, **rest: Any) -> Text:
        return super().render_str(_CONTROL.sub(lambda control: f"\\x{ord(control[0]):02x}", text), **rest)

    def on_broken_pipe(self) -> None:
        raise  # again, as rich calls this while it handles the error


def console(*, stderr: bool = False, width: int | None = None, silent: bool = False) -> Console:
    """Where text is printed as it is: names and paths may look like rich's markup or its codes of emoji; nowhere, if `silent`."""
    return _Console(stderr=stderr, width=width, markup=False, emoji=False, quiet=silent)


def print_tables(tables: Iterable[Table]) -> None:
    """Tables, 100 columns wide at most."""
    terminal = console(width=min(_WIDTH, Console().width) if sys.stdout.isatty() else _WIDTH)
    for table in tables:
        terminal.print(table)


def print_json(value: Any) -> None:
    """A value as JSON that people can read too."""
    print(json.dumps(value, indent=1))


# Whether there is progress, and hints: `--quiet`.
_told = True


@contextmanager
def be_quiet(asked: bool) -> Iterator[None]:
    """In here nothing is printed but results and errors, if that is asked for."""
    global _told
    before, added = _told, [name for name in _BARS if asked and name not in os.environ]
    _told = before and not asked
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        _told = before
        for name in added:
            del os.environ[name]


def hint(text: str) -> None:
    """Print what people may do next."""
    if _told:
        print(text)


def quiet() -> None:
    """Silence transformers: its bars and hints would break ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def bars() -> Bars:
    """Two progress bars: artefacts of the study, steps of the training that runs; plain lines where there is no terminal."""
    from deltaspace.cli.progress import Bars

    return Bars(console(stderr=True, silent=not _told))


def print_made(out: Path, made: int, seconds: float, observer: Bars) -> None:
    """How a run ended."""
    if made:
        parts = ", ".join(f"{title} {spent:.0f} s" for title, spent in observer.seconds.items())
        print(f"{out}: {made} made in {seconds:.0f} s ({parts})")
    elif observer.notes:
        print(f"{out}: nothing was made; see above what was set aside or brought back")
    else:
        print(f"{out}: everything is there and valid; nothing to do")


def broken_pipe() -> int:
    """Write no more, as nobody reads it; the exit code of other programs then."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 128 + signal.SIGPIPE
