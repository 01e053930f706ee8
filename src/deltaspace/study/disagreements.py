"""How far the deltas of a study disagree around the source tasks' codes, and how far out the tuned vectors lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.study.folder import Folder
from deltaspace.subspace.agreement import AGREE


@dataclass(frozen=True)
class DisagreementRow:
    """How far two deltas disagree at one radius.

    Args:
        dim, seed: which subspace.
        first, second: names of the deltas.
        radius: distance from the source tasks' codes, in units of their mean length.
        disagreement: share of the variance, as in `deltaspace.subspace.agreement`: 0 is the same function.
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


def read_disagreements(study: Path) -> list[DisagreementRow]:
    """Every measurement of a study; empty where there is none.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    folder = Folder(study)
    folder.check()
    rows = []
    for path in folder.files("disagreement"):
        metadata = folder.metadata(path)
        try:
            key = metadata["key"]
            for curve in metadata["disagreement"]:
                for first, second, value in curve["pairs"]:
                    rows.append(DisagreementRow(key["dim"], key["seed"], first, second, curve["radius"], value))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(study / path, error) from None
    return rows


def read_radii(study: Path) -> list[VectorRadius]:
    """The radius of every tuned vector of a study.

    Raises:
        DeltaspaceError: as `read_disagreements`.
    """
    folder = Folder(study)
    folder.check()
    radii = []
    for path in folder.files("optimized"):
        metadata = folder.metadata(path)
        try:
            key = metadata["key"]
            radii.append(VectorRadius(key["dim"], key["seed"], key["task"], key["delta"], metadata["radius"]))
        except (KeyError, TypeError) as error:
            raise _damaged(study / path, error) from None
    return radii


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


def _damaged(path: Path, error: Exception) -> DeltaspaceError:
    return DeltaspaceError(
        f"{path} is damaged",
        found=f"{type(error).__name__}: {error}",
        mend="delete it and run the study again: only this file is made anew",
    )
