"""The scores of a study: one typed row for each artefact that was scored, and the two measures that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

if TYPE_CHECKING:
    from deltaspace.training import Fit

# Measures follow from other rows, so they are worked out when a study is read, and never stored.
_DERIVED = ("relative", "recovered")


@dataclass(frozen=True)
class ScoreRow:
    """One score on a task's test split.

    Args:
        stage: the stage that made it: `zero_shot`, `independent`, `optimized`, `transferred`, `rivals` …
        task: the task's name.
        delta: the delta that was scored.
        seed: the study's.
        metric: a name of `deltaspace.tasks.METRICS`.
        score: on the metric's scale, on which 100 is perfect.
        n_test: how many examples it is of.
        source_delta: the delta that the vector was found through.
        dim: d, where the score is of a point of a subspace, or of a rival of that size.
        rival: which one.
        tuned: how many numbers were tuned for it; 0 where nothing was.
        seconds: of training, evaluations on dev included.
        steps: of training.
        relative: relative performance, 100 * score / independent, in percent; None where that is not defined.
        recovered: recovered gain, 100 * (score - zero_shot) / (independent - zero_shot), in percent, or None likewise.
    """

    # A stored row with a field that there is not is none (`deltaspace.study.typed`).
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    stage: str
    task: str
    delta: str
    seed: int
    metric: str
    score: float
    n_test: int
    source_delta: str | None = None
    dim: int | None = None
    rival: str | None = None
    tuned: int = 0
    seconds: float = 0.0
    steps: int = 0
    relative: float | None = None
    recovered: float | None = None

    def timed(self, fit: Fit | None) -> ScoreRow:
        """The row with the time and steps of the training that led to it; unchanged without one."""
        return self if fit is None else replace(self, seconds=round(fit.seconds, 3), steps=fit.steps)

    def stored(self) -> dict[str, Any]:
        """The row as an artefact keeps it."""
        return {name: value for name, value in asdict(self).items() if name not in _DERIVED}

    @staticmethod
    def fields_among(said: Mapping[str, Any]) -> dict[str, Any]:
        """What is said of a row's fields, such as by an artefact's key."""
        return {field.name: said[field.name] for field in fields(ScoreRow) if field.name in said}


@dataclass(frozen=True)
class SweepRow(ScoreRow):
    """A score of a parameter sweep, with its point.

    Args:
        projection: the projection method, with the settings that are not its defaults.
        source_tasks: how many.
        deltas: how many.
        left_out: the recipe's source task that is unseen there, or "".
    """

    projection: str = ""
    source_tasks: int = 0
    deltas: int = 0
    left_out: str = ""

    @classmethod
    def at(cls, row: ScoreRow, projection: str, source_tasks: int, deltas: int, left_out: str = "") -> SweepRow:
        """A study's row at a point of a sweep."""
        values = {field.name: getattr(row, field.name) for field in fields(ScoreRow)}
        return cls(**values, projection=projection, source_tasks=source_tasks, deltas=deltas, left_out=left_out)


def measures(score: float, independent: float | None, zero_shot: float | None) -> tuple[float | None, float | None]:
    """Relative performance and recovered gain, in percent.

    Example:
        >>> measures(70.0, independent=80.0, zero_shot=60.0)
        (87.5, 50.0)
    """
    relative = 100 * score / independent if independent else None
    gain = None if independent is None or zero_shot is None else independent - zero_shot
    return relative, 100 * (score - zero_shot) / gain if gain and zero_shot is not None else None


def measured(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """The rows with both measures, where the scores that these need are among them. Neither is clipped."""
    listed: Sequence[ScoreRow] = list(rows)
    references = {(row.stage, row.task, row.delta, row.seed): row.score for row in listed}

    def reference(row: ScoreRow, stage: str) -> float | None:
        return references.get((stage, row.task, row.delta, row.seed))

    return [
        replace(row, relative=relative, recovered=recovered)
        for row in listed
        for relative, recovered in [measures(row.score, reference(row, "independent"), reference(row, "zero_shot"))]
    ]
