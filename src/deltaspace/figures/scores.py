"""Relative performance and recovered gain of every unseen task, delta and pair of deltas, as dots with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES, Drawing
from deltaspace.figures._results import check_dim
from deltaspace.figures._style import MEASURES, looks, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.averages import Measure
    from deltaspace.study import ScoreRow

_MARKERS = {"optimized": "o", "transferred": "D"}
# More tasks than this show averages over pairs of deltas.
_TASKS = 8


class _Line(NamedTuple):
    """What a line of the figure is of; source and delta are empty where it is the average over all pairs of them."""

    task: str
    stage: str
    source: str
    delta: str

    @property
    def label(self) -> str:
        if not self.delta:
            return self.task if self.stage == "optimized" else f"{self.task}, transfer"
        pair = self.delta if self.source == self.delta else f"{self.source} → {self.delta}"
        return f"{self.task}: {pair}"


def scores_figure(rows: Sequence[ScoreRow], dim: int | None = None) -> Figure:
    """Dots with intervals: left relative performance, right recovered gain; 100 is the independent solution.

    Thick lines are the range over seeds. Thin ones are what other test examples would have given: the 95 % interval of an
    accuracy, the independent and the zero-shot score taken as they are. With more than eight unseen tasks, a task has two lines:
    the mean and range over its deltas, and over its transfers.

    Args:
        rows: of `deltaspace.study.read_scores`.
        dim: which d; the smallest by default.

    Raises:
        DeltaspaceError: matplotlib is missing, or the study has no optimized vectors yet.
    """
    part = [row for row in rows if row.stage in _MARKERS]
    if not part:
        raise DeltaspaceError("nothing to draw: the study has no optimized vectors yet", mend="run its recipe to the end")
    dim = check_dim(dim, part)
    part = [row for row in part if row.dim == dim]
    delta_looks = looks(list(dict.fromkeys(row.delta for row in part)))
    many = len({row.task for row in part}) > _TASKS
    groups: dict[_Line, list[ScoreRow]] = {}
    for row in part:
        pair = ("", "") if many else (row.source_delta or "", row.delta)
        groups.setdefault(_Line(row.task, row.stage, *pair), []).append(row)
    lines = sorted(groups)
    references = {(row.stage, row.task, row.delta, row.seed): row.score for row in rows}
    figure = new_figure(8.0, 1.1 + 0.22 * len(lines))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip((left, right), MEASURES.items(), strict=True):
        axes.axvline(100, color="0.6", linewidth=1)
        for height, line in enumerate(lines):
            values = [getattr(row, measure) for row in groups[line]]
            if None in values:
                # The independent solution gained nothing over zero-shot: there is no gain to recover.
                axes.annotate("undefined", (100, height), fontsize=7, va="center")
                continue
            mean, color = statistics.fmean(values), "0.2" if many else delta_looks[line.delta].color
            if (half := _half_interval(groups[line], references, measure)) and not many:
                axes.plot([mean - half, mean + half], [height, height], color=color, linewidth=0.7)
            axes.plot([min(values), max(values)], [height, height], color=color, linewidth=2.5)
            axes.plot(mean, height, _MARKERS[line.stage], color=color, markersize=5)
        axes.set_xlabel(title)
        plain(axes, "x")
    left.set_yticks(range(len(lines)), [line.label for line in lines])
    left.invert_yaxis()
    figure.suptitle(f"d = {dim}: optimization (dots), transfer (diamonds); 100 = independent solution")
    return figure


def _half_interval(
    rows: Sequence[ScoreRow], references: Mapping[tuple[str, str, str, int], float], measure: Measure
) -> float | None:
    """Half of the 95 % interval of the mean of a measure over seeds, whose test examples are the same; for accuracies only."""
    halves = []
    for row in rows:
        best, start = (references.get((stage, row.task, row.delta, row.seed)) for stage in ("independent", "zero_shot"))
        unit = best if measure == "relative" or best is None or start is None else best - start
        if row.metric != "accuracy" or not unit:
            return None
        share = row.score / 100
        halves.append(100 * abs(1.96 * 100 * math.sqrt(share * (1 - share) / row.n_test) / unit))
    return statistics.fmean(halves)


FIGURES.register(
    Drawing(
        name="scores",
        draw=lambda results, options: scores_figure(results.scores, options.dim),
        drawable=lambda results, options: any(row.stage == "optimized" for row in results.scores),
        caption="Relative performance and recovered gain of every unseen task; 100 is the independent solution, thick lines "
        "are the range over seeds, thin ones the 95 % interval over test examples.",
        order=10,
    )
)
