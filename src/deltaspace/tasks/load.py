"""Loading a task from whatever source its spec names."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import path_of
from deltaspace.tasks.sources import source_of
from deltaspace.tasks.spec import Limits, TaskSpec
from deltaspace.tasks.task import SPLITS, Task, make_task


def load_task(spec: str | TaskSpec, *, folder: Path | str | None = None, limits: Limits | None = None) -> Task:
    """Load a task.

    Args:
        spec: as in a recipe: a text, or a `TaskSpec`.
        folder: what relative folders are relative to; the current one by default.
        limits: most examples of each split, where the spec has none of its own.

    Raises:
        DeltaspaceError: there is no such task, or its examples are not what they should be.
    """
    spec = spec if isinstance(spec, TaskSpec) else _spec(spec)
    try:
        source, where = source_of(spec.origin)
    except ValueError as error:
        raise DeltaspaceError(str(error), mend="correct 'from' in the recipe") from None
    contents = source.read(where, spec, None if folder is None else path_of(folder))
    common = limits or Limits()
    counts = {str(split): getattr(spec.limits, split) or getattr(common, split) for split in SPLITS}
    cut = {split: count for split, count in counts.items() if count is not None}
    return make_task(
        spec.task_name,
        contents.splits,
        source=spec.origin,
        kind=spec.kind or contents.kind,
        metric=spec.metric or contents.metric,
        labels=contents.labels if spec.labels is None else spec.labels,
        prompt=spec.prompt,
        limits=cut,
    )


def _spec(text: str) -> TaskSpec:
    try:
        return TaskSpec.model_validate(text)
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DeltaspaceError(f"no task {text!r}: {told}", mend="TaskSpec(origin=…, name=…)") from None
