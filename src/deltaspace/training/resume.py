"""How a long computation goes on where an earlier process was killed, and tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deltaspace.interruption import check

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Resume:
    """Where a computation keeps its state while it runs, and whom it tells.

    Args:
        state: a file; without it nothing is kept, and a killed computation begins anew.
        fingerprint: what the state must have been made from; the state of anything else is not taken up.
        progress: called with (steps done, steps in all, text).
        kept: whether the state of a finished training is saved too: of one of several that make one computation.
    """

    state: Path | None = None
    fingerprint: str = ""
    progress: Progress | None = None
    kept: bool = False

    def part(self, name: object) -> Resume:
        """Of one training among several of a computation: it has a state of its own, which is kept when it is finished."""
        state = None if self.state is None else self.state.with_name(f"{self.state.stem}-{name}{self.state.suffix}")
        return replace(self, state=state, fingerprint=f"{self.fingerprint} {name}", kept=True)

    def forget(self) -> None:
        """Delete the state."""
        if self.state is not None:
            self.state.unlink(missing_ok=True)

    def tell(self, done: int, total: int, text: str) -> None:
        """Call `progress`, if there is one.

        Raises:
            Interrupted: a signal asked this process to end.
        """
        check()
        if self.progress is not None:
            self.progress(done, total, text)


NO_RESUME = Resume()
