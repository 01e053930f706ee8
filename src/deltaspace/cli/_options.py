"""Arguments and options that several verbs have. A verb's parameters are all of its options, however many."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from deltaspace.storage import ExportKind

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or a sweep's.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only tell what would be made, how long that takes and how large it becomes.")
]
Dim = Annotated[int | None, typer.Option(help="d, where the study has several.")]
Seed = Annotated[int | None, typer.Option(help="The seed, where the study has several.")]


def refuse_sweep(folder: Path) -> None:
    """Raise DeltaspaceError where a verb that is for one study gets a sweep's folder."""
    from deltaspace.study import is_sweep

    if is_sweep(folder):
        studies = sorted(str(path.parent) for path in folder.glob("*/recipe.yaml"))
        raise DeltaspaceError(
            f"{folder} is a sweep, of several studies",
            expected=f"one of its studies: {', '.join(studies) or 'none is there yet'}",
            mend=f"name one of them, or see all: deltaspace show {folder}",
        )


def check_new_export(out: Path, kind: ExportKind, source: Path | str) -> None:
    """Raise DeltaspaceError where an export may not be written: before anything is computed for it.

    Args:
        out: its folder, or a LoRA's GGUF file.
        kind: what is exported.
        source: what it is made from, which it must not take the place of.
    """
    from deltaspace.gguf_header import check_replaceable, is_gguf
    from deltaspace.storage import check_export, check_writable

    check_writable(out)
    if is_gguf(out):
        check_replaceable(out)
    else:
        check_export(out, kind, source)


class Tracker(str, Enum):
    """accelerate's trackers that curves can be sent to."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"
