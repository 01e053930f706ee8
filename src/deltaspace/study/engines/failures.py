"""What could not be made, and how a run ends that went on without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted

# Of those that are listed one by one; a mistake in a recipe may meet thousands.
_SHOWN = 20


class ArtefactsFailed(RuntimeError):
    """Artefacts could not be made for a reason that is no user's mistake: workers were killed, or deltaspace has one itself."""


@dataclass(frozen=True)
class Failure:
    """An artefact that could not be made.

    Args:
        path: the artefact's.
        why: in one line.
        without: how many artefacts could not be made because they are made from it.
        mistake: the user's, where it is one; else it was tried as often as the engine allows.
        details: a traceback, where there is one.
    """

    path: str
    why: str
    without: int
    mistake: DeltaspaceError | None = None
    details: str = ""


def in_one_line(mistake: DeltaspaceError) -> str:
    """A user's mistake, for a list of several."""
    return "; ".join(line.strip() for line in str(mistake).split("\n"))


def tell_failures(failures: Sequence[Failure]) -> None:
    """Raise what ends a run.

    Raises:
        DeltaspaceError: all that failed were users' mistakes.
        ArtefactsFailed: some were not.
    """
    if not failures:
        return
    mend = "run the same command again: what is there is kept, and only the rest is made"
    mistakes = [failure.mistake for failure in failures if failure.mistake is not None]
    if len(mistakes) == len(failures) == 1:
        [failure], [mistake] = failures, mistakes
        found, without = mistake.found, _without(failures)
        what = f"{failure.path} could not be made{without}: {mistake.what}"
        raise DeltaspaceError(what, found=found, expected=mistake.expected, mend=f"{mistake.mend or 'mend it'}; then {mend}")
    listed = [f"{failure.path}: {failure.why}" for failure in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        listed.append(f"and {len(failures) - _SHOWN} more, see runs.json")
    what, found = f"{counted(len(failures), 'artefact')} could not be made{_without(failures)}", "\n    ".join(listed)
    if len(mistakes) == len(failures):
        raise DeltaspaceError(what, found=found, mend=f"mend these, then {mend}")
    details = next((failure.details for failure in failures if failure.details), "")
    raise ArtefactsFailed(f"{what}\n  found: {found}\n  mend: {mend}\n{details}".rstrip())


def _without(failures: Sequence[Failure]) -> str:
    count = sum(failure.without for failure in failures)
    return f", nor {count} made from it" if count and len(failures) == 1 else f", nor {count} made from them" if count else ""
