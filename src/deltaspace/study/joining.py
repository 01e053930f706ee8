"""A study that another run holds: what that is doing, and how to go along with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from deltaspace.errors import DeltaspaceError
from deltaspace.study.files import RECIPE, SWEEP
from deltaspace.study.folder import Folder
from deltaspace.study.live import read_live
from deltaspace.study.lock import HeldElsewhere, Hold

# Of what another run is making.
_SHOWN = 4


@contextmanager
def held(folder: Folder, join: bool) -> Iterator[Hold]:
    """As `Folder.locked`; where another run holds the study, the message says what that is doing."""
    with ExitStack() as stack:
        try:
            hold = stack.enter_context(folder.locked(join=join))
        except HeldElsewhere as elsewhere:
            sweep = folder.path.parent
            follow = (
                f"it is part of a sweep, which no run joins; follow that: deltaspace status {sweep}"
                if (sweep / SWEEP).exists()
                else f"follow it: deltaspace status {folder.path}; or work along: "
                f"deltaspace run {folder.path / RECIPE} --out {folder.path} --join"
            )
            said = (str(elsewhere.found or ""), _doing(folder))
            raise HeldElsewhere(elsewhere.what, found="; ".join(filter(None, said)) or None, mend=follow) from None
        yield hold


def _doing(folder: Folder) -> str:
    """What the run that holds a study said last of how far it is."""
    try:
        said = read_live(folder)
    except DeltaspaceError:  # it is just being written
        said = None
    making = [f"{claim.artefact} (process {claim.process} on {claim.host})" for claim in folder.claims.all()]
    told = [] if said is None else [f"{said.done} of {said.todo} made"]
    if said is not None and said.seconds_left is not None:
        told.append(f"about {said.seconds_left:.0f} s left")
    if making:
        told.append("now making " + ", ".join(making[:_SHOWN]) + (f" and {len(making) - _SHOWN} more" if making[_SHOWN:] else ""))
    return ", ".join(told)
