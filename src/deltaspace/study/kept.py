"""What a study keeps of solutions: of checkpoints by their import, of source solutions by its spaces."""

from __future__ import annotations

from pathlib import Path

from deltaspace.study.folder import Folder
from deltaspace.study.record import current_records, row_of
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.reconstructed import RECONSTRUCTED
from deltaspace.subspace.kept import Kept


def read_kept(study: Path | str) -> list[Kept]:
    """What is kept of every solution of which that was measured: imports first, then spaces by d.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    folder = Folder(Path(study))
    folder.check()
    kept = []
    # Only solutions of a study that took some in say something; the others need not be read.
    stages = (INDEPENDENT, RECONSTRUCTED) if (folder.path / "imported").exists() else (RECONSTRUCTED,)
    for record in (record for stage in stages for record in current_records(folder, stage.name)):
        said = folder.metadata(record.path).get("kept")
        if said is None and record.stage == INDEPENDENT.name:  # trained here, or imported by an earlier version
            continue
        kept.append(row_of(Kept, folder, record, said))
    return sorted(kept, key=lambda row: (row.dim is not None, row.dim or 0, row.seed))
