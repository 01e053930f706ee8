"""What a study's folder has to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.study import is_sweep, read_curves, read_landscapes, read_scores, read_subspace, read_sweep_scores

if TYPE_CHECKING:
    from deltaspace.landscape import Landscape
    from deltaspace.study import Curve, ScoreRow, SweepRow
    from deltaspace.subspace import Subspace


class Results:
    """What the folder of a study, or of a parameter sweep, holds; each part is read once, when it is first asked for.

    Args:
        folder: the study's, or the sweep's.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._subspaces: dict[int | None, Subspace] = {}

    @cached_property
    def is_sweep(self) -> bool:
        """Whether the folder is a parameter sweep's."""
        return is_sweep(self.folder)

    @cached_property
    def scores(self) -> list[ScoreRow]:
        """Every score of the study.

        Raises:
            DeltaspaceError: the folder is no study, or a file of it is damaged.
        """
        return read_scores(self.folder)

    @cached_property
    def sweep_scores(self) -> list[SweepRow]:
        """Every score of the parameter sweep."""
        return read_sweep_scores(self.folder)

    @cached_property
    def curves(self) -> list[Curve]:
        """Every training of the study."""
        return read_curves(self.folder)

    @cached_property
    def landscapes(self) -> dict[str, Landscape]:
        """The study's landscapes by name."""
        return read_landscapes(self.folder)

    def landscape(self, name: str | None = None) -> Landscape:
        """The landscape of a name, or the first.

        Raises:
            DeltaspaceError: there is none.
        """
        if not self.landscapes:
            raise DeltaspaceError(f"{self.folder} has no landscape yet", mend=f"deltaspace landscape {self.folder} --task TASK")
        name = name or next(iter(self.landscapes))
        if name not in self.landscapes:
            raise DeltaspaceError(f"{self.folder} has no landscape {name!r}", expected=", ".join(self.landscapes))
        return self.landscapes[name]

    def subspace(self, dim: int | None = None) -> Subspace:
        """The subspace of a d, with the vectors of all tasks.

        Raises:
            DeltaspaceError: there is none yet, or there are several and none was chosen.
        """
        if dim not in self._subspaces:
            self._subspaces[dim] = read_subspace(self.folder, dim)
        return self._subspaces[dim]


def check_task(task: str | None, tasks: Sequence[str]) -> str | None:
    """The task that was asked for.

    Raises:
        DeltaspaceError: it is none of the tasks that can be drawn.
    """
    if task is not None and task not in tasks:
        raise DeltaspaceError(f"no figure of the task {task!r}", expected=", ".join(dict.fromkeys(tasks)))
    return task
