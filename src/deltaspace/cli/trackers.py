"""Curves and scores of a run in a tracker: TensorBoard, Weights & Biases or Trackio, through accelerate."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import resolved
from deltaspace.study import Observer
from deltaspace.study.folder import Folder, read_artefact_metadata

if TYPE_CHECKING:
    from deltaspace.study import Artefact, Recipe


class Tracking(Observer):
    """Sends a tracker the curve and the score of each artefact when it is finished.

    Every training is another curve, by the artefact's name. The tracker's step counts the steps of all trainings, each training's
    behind those of the last, since trackers refuse to go back.

    Args:
        tracker: tensorboard, wandb or trackio.
        folder: the study's; TensorBoard's files go to its `tracking/`.
        recipe: shown by the tracker as the run's settings.

    Raises:
        DeltaspaceError: the tracker's package is missing.
    """

    def __init__(self, tracker: str, folder: Path, recipe: Recipe) -> None:
        self._folder, self._step = folder, 0
        if tracker not in {str(available) for available in get_available_trackers()}:
            raise DeltaspaceError(f"the tracker {tracker} is not installed", mend=f"pip install {tracker}")
        Folder(folder).check_free()
        project = folder / "tracking"
        project.mkdir(parents=True, exist_ok=True)
        self._accelerator = Accelerator(log_with=tracker, project_dir=project)
        # TensorBoard takes plain numbers and text only.
        settings = {"model": recipe.model, "deltas": ", ".join(recipe.deltas), "dim": str(recipe.dim), "seed": str(recipe.seed)}
        self._accelerator.init_trackers(resolved(folder).name, config=settings)

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._accelerator.end_training()

    def end(self, artefact: Artefact) -> None:
        metadata = read_artefact_metadata(self._folder / artefact.path)
        name = artefact.path.rpartition(".")[0]
        last = 0
        for step, score, loss in metadata.get("curve", []):
            self._accelerator.log({f"{name}/dev score": score, f"{name}/dev loss": loss}, step=self._step + step)
            last = step
        self._step += last + 1
        if "row" in metadata:
            self._accelerator.log({f"{name}/test score": metadata["row"]["score"]}, step=self._step)
