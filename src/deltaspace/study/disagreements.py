"""How far the deltas of a study disagree around the source tasks' codes, and how far out the tuned vectors lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deltaspace.study.folder import Folder
from deltaspace.study.record import Record, current_records, damaged, row_of
from deltaspace.study.stages.disagreement import DISAGREEMENT
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.subspace.agreement import AGREE

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class DisagreementRow:
    """How far two deltas disagree at one radius.

    Args:
        dim, seed: which subspace.
        first, second: names of the deltas.
        radius: distance from the source tasks' codes, in units of their mean length.
        disagreement: as in `deltaspace.subspace.agreement`: 0 is the same function, 1 has nothing in common.
    """

    dim: int
    seed: int
    first: str
    second: str
    radius: float
    disagreement: float


@dataclass(frozen=True)
class VectorRadius:
    """How far a tuned vector lies from the source tasks' codes.

    Args:
        dim, seed: which subspace.
        task, delta: which vector.
        radius: in units of the codes' mean length.
    """

    dim: int
    seed: int
    task: str
    delta: str
    radius: float


def read_disagreements(study: Path | str) -> list[DisagreementRow]:
    """Every measurement of a study; empty where there is none.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    folder = Folder(Path(study))
    folder.check()
    rows = []
    for record in current_records(folder, DISAGREEMENT.name):
        subspace = {"dim": record.key["dim"], "seed": record.key["seed"]}
        rows += [row_of(DisagreementRow, folder, record, subspace | row) for row in _kept(folder, record, "disagreement", list)]
    return rows


def read_radii(study: Path | str) -> list[VectorRadius]:
    """The radius of every tuned vector of a study.

    Raises:
        DeltaspaceError: as `read_disagreements`.
    """
    folder = Folder(Path(study))
    folder.check()
    return [
        row_of(VectorRadius, folder, record, record.key | {"radius": _kept(folder, record, "radius", float)})
        for record in current_records(folder, OPTIMIZED.name)
    ]


def _kept(folder: Folder, record: Record, name: str, kind: type[Kept]) -> Kept:
    kept = folder.metadata(record.path).get(name)
    if not isinstance(kept, kind):
        raise damaged(folder, record, f"{name}: {kept!r}", kind.__name__)
    return kept


def agreeing_radius(rows: list[DisagreementRow]) -> float | None:
    """The largest measured radius up to which the deltas' mean disagreement stays below `AGREE`; None where it never is.

    Args:
        rows: of one subspace, or of several alike.
    """
    within = None
    for radius in sorted({row.radius for row in rows}):
        values = [row.disagreement for row in rows if row.radius == radius]
        if sum(values) / len(values) >= AGREE:
            break
        within = radius
    return within
