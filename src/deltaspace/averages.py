"""Averages of scores over tasks, deltas and seeds, which tables, figures and the report show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from deltaspace.study import ScoreRow

_RESAMPLES = 10_000

Measure = Literal["score", "relative", "recovered"]


@dataclass(frozen=True)
class AverageRow:
    """Both measures of a stage, averaged over the unseen tasks and the seeds.

    Args:
        dim: d.
        stage: `optimized` or `transferred`.
        delta: that was decoded; `average` is over all.
        relative: relative performance in percent; None where it is not defined for all that it is the average of.
        recovered: recovered gain in percent, likewise.
    """

    dim: int
    stage: str
    delta: str
    relative: float | None
    recovered: float | None


@dataclass(frozen=True)
class TaskRow:
    """Scores of an unseen task, averaged over deltas and seeds: on the metric's scale, and both measures in percent.

    Args:
        task: its name.
        dim: d.
        zero_shot, independent, optimized, transferred: scores of the stages.
        optimized_relative, optimized_recovered: relative performance and recovered gain of optimization.
        transferred_relative, transferred_recovered: of transfer.
    """

    task: str
    dim: int
    zero_shot: float | None
    independent: float | None
    optimized: float | None
    optimized_relative: float | None
    optimized_recovered: float | None
    transferred: float | None
    transferred_relative: float | None
    transferred_recovered: float | None


def average(rows: Sequence[ScoreRow], measure: Measure) -> float | None:
    """Mean of a measure over rows; None where a row lacks it (nothing is dropped), or there are no rows."""
    values = [getattr(row, measure) for row in rows]
    return None if not values or None in values else statistics.fmean(values)


def over_seeds(rows: Sequence[ScoreRow], measure: Measure) -> list[float]:
    """The mean of a measure over rows, for each seed; empty where a row lacks it."""
    values = [average([row for row in rows if row.seed == seed], measure) for seed in dict.fromkeys(row.seed for row in rows)]
    return [] if None in values else [value for value in values if value is not None]


@dataclass(frozen=True)
class Difference:
    """A difference of means with its 95 % interval.

    Args:
        value: the difference.
        low, high: the interval.
    """

    value: float
    low: float
    high: float


def difference_over_tasks(rows: Sequence[ScoreRow], others: Sequence[ScoreRow], measure: Measure) -> Difference | None:
    """How far a mean over some rows is above that over others, with a bootstrap interval over the tasks that both have.

    Tasks are what a claim about tasks that were never seen generalizes over; each is drawn with all its deltas and seeds.

    Returns:
        None where a row lacks the measure, or there are fewer than two tasks.
    """
    differences = []
    for task in dict.fromkeys(row.task for row in rows):
        mean = average([row for row in rows if row.task == task], measure)
        other = average([row for row in others if row.task == task], measure)
        if mean is None or other is None:
            return None
        differences.append(mean - other)
    if len(differences) < 2:
        return None
    values = np.array(differences)
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return Difference(float(values.mean()), float(low), float(high))


def average_rows(rows: Sequence[ScoreRow]) -> list[AverageRow]:
    """For every d and both stages, the averages over the unseen tasks: for every delta that was decoded, and for all."""
    averages = []
    tuned = [row for row in rows if row.stage in ("optimized", "transferred")]
    for dim, stage in sorted({(row.dim, row.stage) for row in tuned if row.dim is not None}):
        part = [row for row in tuned if (row.dim, row.stage) == (dim, stage)]
        groups = {delta: [row for row in part if row.delta == delta] for delta in dict.fromkeys(row.delta for row in part)}
        for delta, group in {**groups, "average": part}.items():
            averages.append(AverageRow(dim, stage, delta, average(group, "relative"), average(group, "recovered")))
    return averages


def task_rows(rows: Sequence[ScoreRow]) -> list[TaskRow]:
    """For every unseen task and d, the averages over deltas and seeds."""
    averages = []
    tuned = dict.fromkeys((row.task, row.dim) for row in rows if row.stage == "optimized" and row.dim is not None)
    for task, dim in tuned:
        part = [row for row in rows if row.task == task and row.dim in (None, dim)]
        stages = {name: [row for row in part if row.stage == name] for name in dict.fromkeys(row.stage for row in part)}
        optimized, transferred = stages["optimized"], stages.get("transferred", [])
        averages.append(
            TaskRow(
                task=task,
                dim=dim,
                zero_shot=average(stages.get("zero_shot", []), "score"),
                independent=average(stages.get("independent", []), "score"),
                optimized=average(optimized, "score"),
                optimized_relative=average(optimized, "relative"),
                optimized_recovered=average(optimized, "recovered"),
                transferred=average(transferred, "score"),
                transferred_relative=average(transferred, "relative"),
                transferred_recovered=average(transferred, "recovered"),
            )
        )
    return averages
