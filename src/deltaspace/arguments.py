"""What Python code hands over is of the kind that is asked for, or one message says what to hand over."""

from __future__ import annotations

from collections.abc import Iterable

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import shown
from deltaspace.seeds import LARGEST_SEED

_SHOWN = 60


def check_kind(value: object, kind: type | tuple[type, ...], what: str, mend: str) -> None:
    """See that an argument can be what it should.

    Args:
        value: what was given.
        kind: its class, or several.
        what: it is, in a sentence.
        mend: where it comes from.

    Raises:
        DeltaspaceError: it is something else.
    """
    if not isinstance(value, kind):
        shown = f"{value!r:.{_SHOWN}}, " if isinstance(value, str | int | float) else ""
        raise DeltaspaceError(f"this is not {what}", found=f"{shown}{type(value).__name__}", mend=mend)


def check_seed(value: object) -> None:
    """See that an argument can be a seed.

    Raises:
        DeltaspaceError: it is no whole number, negative, or too large.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_SEED:
        raise DeltaspaceError(
            "this is not a seed",
            found=f"{shown(value)}, {type(value).__name__}",
            expected=f"a whole number from 0 to {LARGEST_SEED:,}",
            mend="seed=0",
        )


def check_kinds(values: object, kind: type, what: str, mend: str) -> None:
    """The same of each in a list.

    Raises:
        DeltaspaceError: it is no list of them.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DeltaspaceError(f"this is no list, each of it {what}", found=type(values).__name__, mend=f"[...]; {mend}")
    for value in values:
        check_kind(value, kind, what, mend)
