"""How a long computation goes on where an earlier process was killed, and tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.interruption import check
from deltaspace.mistakes import plainly
from deltaspace.storage import read_tensors, what_is_at

if TYPE_CHECKING:
    from torch import Tensor

Thing = TypeVar("Thing")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Resume:
    """Where a computation keeps its state while it runs, and whom it tells.

    Args:
        state: a file; without it nothing is kept, and a killed computation begins anew.
        fingerprint: what the state must have been made from; the state of anything else is not taken up.
        progress: called with (steps done, steps in all, text).
        kept: whether the state of a finished training is saved too: of one of several that make one computation.
        note: told of a state that is passed over.
    """

    state: Path | None = None
    fingerprint: str = ""
    progress: Progress | None = None
    kept: bool = False
    note: Callable[[str], None] | None = None

    def load(self, take: Callable[[dict[str, Tensor], dict[str, Any]], Thing]) -> Thing | None:
        """What `take` makes of the state that an earlier process saved.

        Args:
            take: makes it from the state's tensors and metadata; a LookupError, TypeError, ValueError or RuntimeError of its says
                that they do not fit.

        Returns:
            None where there is no state, or where it is damaged, does not fit, or is of something else, which `note` is told: the
            computation begins anew.

        Raises:
            DeltaspaceError: what is there is no file, so that no state could be saved there.
        """
        if self.state is None or (present := what_is_at(self.state)) is None:
            return None
        if present != "a file":
            raise DeltaspaceError(
                f"{self.state} cannot hold the state of a computation", found=f"{present} is there", mend="remove it"
            )
        try:
            tensors, said = read_tensors(self.state)
            if said.get("fingerprint") != self.fingerprint:
                raise ValueError("it is of another recipe or version")
            return take(tensors, said)
        except DeltaspaceError as error:
            why = error.found if isinstance(error.found, str) else first_line(error)
        except ValidationError as error:
            why = plainly(error)
        except LookupError as error:
            why = f"it lacks {error}"
        except (TypeError, ValueError, RuntimeError) as error:
            why = first_line(error)
        if self.note is not None:
            self.note(f"{self.state} cannot be taken up ({why}): what it was of begins anew")
        return None

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
