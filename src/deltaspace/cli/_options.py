"""Arguments and options that several verbs have. A verb's parameters are all of its options, however many."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or a sweep's.")]
Dim = Annotated[int | None, typer.Option(help="d, where the study has several.")]
Seed = Annotated[int | None, typer.Option(help="The seed, where the study has several.")]


class Tracker(str, Enum):
    """accelerate's trackers that curves can be sent to."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"
