"""What a study's folder has to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deltaspace.errors import DeltaspaceError
from deltaspace.study import (
    is_sweep,
    read_answers,
    read_curves,
    read_disagreements,
    read_landscape_seeds,
    read_landscapes,
    read_missed,
    read_radii,
    read_scores,
    read_subspace,
    read_sweep_scores,
)

if TYPE_CHECKING:
    from deltaspace.landscape import Landscape
    from deltaspace.study import Answer, Curve, DisagreementRow, MissedRow, ScoreRow, SweepRow, VectorRadius
    from deltaspace.subspace import Subspace

    Row = TypeVar("Row", ScoreRow, SweepRow, Curve, Answer, DisagreementRow, MissedRow, VectorRadius)


class Results:
    """What the folder of a study, or of a parameter sweep, holds; each part is read once, when it is first asked for.

    Args:
        folder: the study's, or the sweep's.
        seed: only what is of this one; by default everything, and the first seed's subspace.
    """

    def __init__(self, folder: Path | str, seed: int | None = None) -> None:
        self.folder, self._seed = Path(folder), seed
        self._subspaces: dict[tuple[int | None, int | None], Subspace] = {}

    @cached_property
    def is_sweep(self) -> bool:
        """Whether the folder is a parameter sweep's."""
        return is_sweep(self.folder)

    @cached_property
    def scores(self) -> list[ScoreRow]:
        """Every score of the study.

        Raises:
            DeltaspaceError: the folder is no study, a file of it is damaged, or the study has nothing of the seed.
        """
        return self._of_seed(read_scores(self.folder))

    @cached_property
    def sweep_scores(self) -> list[SweepRow]:
        """Every score of the parameter sweep."""
        return self._of_seed(read_sweep_scores(self.folder))

    @cached_property
    def curves(self) -> list[Curve]:
        """Every training of the study."""
        return self._of_seed(read_curves(self.folder))

    @cached_property
    def answers(self) -> list[Answer]:
        """What deltas wrote for a few test examples."""
        return self._of_seed(read_answers(self.folder))

    @cached_property
    def disagreements(self) -> list[DisagreementRow]:
        """How far the deltas disagree, by radius."""
        return self._of_seed(read_disagreements(self.folder))

    @cached_property
    def missed(self) -> list[MissedRow]:
        """What translated vectors miss."""
        return self._of_seed(read_missed(self.folder))

    @cached_property
    def radii(self) -> list[VectorRadius]:
        """How far out the tuned vectors lie."""
        return self._of_seed(read_radii(self.folder))

    @cached_property
    def landscapes(self) -> dict[str, Landscape]:
        """The study's landscapes by name."""
        return read_landscapes(self.folder)

    @cached_property
    def landscape_seeds(self) -> dict[str, int]:
        """The seed of the subspace that each landscape was sampled in."""
        return read_landscape_seeds(self.folder)

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

    def subspace(self, dim: int | None = None, seed: int | None = None) -> Subspace:
        """The subspace of a d, with the vectors of all tasks; of these results' seed unless another is named.

        Raises:
            DeltaspaceError: there is none yet, or there are several and none was chosen.
        """
        key = (dim, self._seed if seed is None else seed)
        if key not in self._subspaces:
            self._subspaces[key] = read_subspace(self.folder, *key)
        return self._subspaces[key]

    def _of_seed(self, rows: list[Row]) -> list[Row]:
        chosen = [row for row in rows if self._seed in (None, row.seed)]
        if rows and not chosen:
            seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
            raise DeltaspaceError(f"{self.folder} has nothing of the seed {self._seed}", expected=seeds)
        return chosen


def check_dim(dim: int | None, rows: Iterable[ScoreRow | SweepRow]) -> int | None:
    """The d that was asked for; the smallest that there is by default.

    Raises:
        DeltaspaceError: no row is of it.
    """
    dims = sorted({row.dim for row in rows if row.dim is not None})
    if dim is not None and dim not in dims:
        raise DeltaspaceError(f"nothing to draw of d = {dim}", expected="d = " + (", ".join(map(str, dims)) or "none yet"))
    return dims[0] if dim is None and dims else dim


def check_task(task: str | None, tasks: Sequence[str]) -> str | None:
    """The task that was asked for.

    Raises:
        DeltaspaceError: it is none of the tasks that can be drawn.
    """
    if task is not None and task not in tasks:
        raise DeltaspaceError(f"no figure of the task {task!r}", expected=", ".join(dict.fromkeys(tasks)))
    return task
