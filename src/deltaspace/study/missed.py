"""What translated vectors of a study miss: how far the delta that follows answers otherwise than the one that is followed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltaspace.study.folder import Folder
from deltaspace.study.record import current_records, damaged, row_of
from deltaspace.study.stages.translated import TRANSLATED


@dataclass(frozen=True)
class MissedRow:
    """How much of what one delta changes another one misses, on inputs that were held out.

    Args:
        dim, seed: which subspace.
        task: whose inputs.
        source_delta, delta: the delta that is followed, and the one that follows.
        start: where the vector that was kept began: transferred, or mean.
        before: at the transferred vector, as a share of the change: 0 is the same function, 1 as far from it as the untuned PLM.
        after: that share at the translated vector.
    """

    dim: int
    seed: int
    task: str
    source_delta: str
    delta: str
    start: str
    before: float
    after: float


def read_missed(study: Path | str) -> list[MissedRow]:
    """Every translation of a study; empty where there is none.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    folder = Folder(Path(study))
    folder.check()
    rows = []
    for record in current_records(folder, TRANSLATED.name):
        metadata = folder.metadata(record.path)
        if not isinstance(missed := metadata.get("missed"), dict):
            raise damaged(folder, record, f"missed: {missed!r}", "a mapping")
        which = {"source_delta" if name == "source" else name: value for name, value in record.key.items()}
        rows.append(row_of(MissedRow, folder, record, which | missed | {"start": metadata.get("start")}))
    return rows
