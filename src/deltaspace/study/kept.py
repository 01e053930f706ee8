"""What a study keeps of solutions: of checkpoints by their import, of source solutions by its spaces."""

from __future__ import annotations

from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.study.folder import Folder
from deltaspace.study.record import current_records
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.reconstructed import RECONSTRUCTED
from deltaspace.study.typed import typed
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
        try:
            kept.append(typed(Kept, said))
        except ValueError as error:
            raise DeltaspaceError(
                f"{folder.path / record.path} is damaged",
                found=str(error),
                expected="the fields of what is kept",
                mend="delete it and run the study again, or import the checkpoint again: deltaspace import",
            ) from None
    return sorted(kept, key=lambda row: (row.dim is not None, row.dim or 0, row.seed))
