"""Curves and scores of a run in a tracker: TensorBoard, Weights & Biases or Trackio, through accelerate."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from deltaspace.backbone import precision
from deltaspace.errors import DeltaspaceError
from deltaspace.study.folder import read_any
from deltaspace.study.run import Report

if TYPE_CHECKING:
    from deltaspace.study.recipe import Recipe


class Tracked(Report):
    """Tells another report everything, and a tracker what each finished artefact found.

    Every training is a curve of its own, by the artefact's name. The tracker's step counts all trainings' steps one behind the
    other, since trackers refuse to go back.

    Args:
        report: told as without a tracker.
        tracker: tensorboard, wandb or trackio.
        folder: the study's; TensorBoard's files go to its `tracking/`.
        recipe: shown by the tracker as the run's settings.

    Raises:
        DeltaspaceError: the tracker's package is missing.
    """

    def __init__(self, report: Report, tracker: str, folder: Path, recipe: Recipe) -> None:
        self._report, self._folder, self._step = report, folder, 0
        place = folder / "tracking"
        if tracker not in {str(own) for own in get_available_trackers()}:
            raise DeltaspaceError(f"the tracker {tracker} is not installed", mend=f"pip install {tracker}")
        place.mkdir(parents=True, exist_ok=True)
        self._accelerator = Accelerator(log_with=tracker, project_dir=place, mixed_precision=precision())
        # TensorBoard takes plain numbers and text only.
        settings = {"model": recipe.model, "deltas": ", ".join(recipe.deltas), "dim": str(recipe.dim), "seed": str(recipe.seed)}
        self._accelerator.init_trackers(folder.resolve().name, config=settings)

    def __enter__(self) -> Tracked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._accelerator.end_training()

    def study(self, name: str) -> None:
        self._report.study(name)

    def plan(self, todo: int, done: int) -> None:
        self._report.plan(todo, done)

    def start(self, path: str, reason: str) -> None:
        self._report.start(path, reason)

    def progress(self, step: int, steps: int, text: str) -> None:
        self._report.progress(step, steps, text)

    def end(self, path: str) -> None:
        found = read_any(self._folder / path)
        name = path.rpartition(".")[0]
        last = 0
        for step, metric, loss in found.get("curve", []):
            self._accelerator.log({f"{name}/dev score": metric, f"{name}/dev loss": loss}, step=self._step + step)
            last = step
        self._step += last + 1
        if "row" in found:
            self._accelerator.log({f"{name}/test score": found["row"]["score"]}, step=self._step)
        self._report.end(path)
