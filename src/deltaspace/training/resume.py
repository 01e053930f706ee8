"""How a long computation goes on where an earlier process was killed, and tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Resume:
    """Where a computation keeps its state while it runs, and whom it tells.

    Args:
        state: a file; without it nothing is kept, and a killed computation begins anew.
        fingerprint: what the state must have been made from; the state of anything else is not taken up.
        progress: called with (steps done, steps in all, text).
    """

    state: Path | None = None
    fingerprint: str = ""
    progress: Progress | None = None

    def tell(self, done: int, total: int, text: str) -> None:
        """Call `progress`, if there is one."""
        if self.progress is not None:
            self.progress(done, total, text)


NO_RESUME = Resume()
