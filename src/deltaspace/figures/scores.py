"""Relative performance and recovered gain of every unseen task, delta and pair of deltas, as dots with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures.style import MEASURES, looks, new_figure, plain
from deltaspace.study.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAGES = {"optimized": "o", "transferred": "D"}
# More tasks than this show averages over pairs of deltas.
_TASKS = 8


def scores_figure(rows: Sequence[Row], dim: int | None = None) -> Figure:
    """Dots with intervals: left relative performance, right recovered gain; 100 is the independent solution.

    Thick lines are the range over seeds. Thin ones are what other test examples would have given: the 95 % interval of an
    accuracy, the independent and the zero-shot score taken as they are. With more than eight unseen tasks, a task has two lines:
    the mean and range over its deltas, and over its transfers.

    Args:
        rows: of `deltaspace.study.rows`.
        dim: which d; the smallest by default.

    Raises:
        DeltaspaceError: matplotlib is missing, or the study has no optimized vectors yet.
    """
    part = [row for row in rows if row["stage"] in _STAGES]
    if not part:
        raise DeltaspaceError("nothing to draw: the study has no optimized vectors yet", mend="run its recipe to the end")
    dim = dim or min(row["dim"] for row in part)
    part = [row for row in part if row["dim"] == dim]
    deltas = looks(list(dict.fromkeys(row["delta"] for row in part)))
    many = len({row["task"] for row in part}) > _TASKS
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in part:
        rest = () if many else (row["source_delta"], row["delta"])
        groups.setdefault((row["task"], row["stage"], *rest), []).append(row)
    keys = sorted(groups)
    references = {(row["stage"], row["task"], row["delta"], row["seed"]): row["score"] for row in rows}
    drawn = new_figure(8, 1.1 + 0.22 * len(keys))
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip((left, right), MEASURES.items(), strict=True):
        axes.axvline(100, color="0.6", linewidth=1)
        for place, key in enumerate(keys):
            values = [row[measure] for row in groups[key]]
            if None in values:
                # The independent solution gained nothing over zero-shot: there is no gain to recover.
                axes.annotate("undefined", (100, place), fontsize=7, va="center")
                continue
            color = "0.2" if many else deltas[key[3]].color
            if (half := _half_interval(groups[key], references, measure)) and not many:
                middle = statistics.fmean(values)
                axes.plot([middle - half, middle + half], [place, place], color=color, linewidth=0.7)
            axes.plot([min(values), max(values)], [place, place], color=color, linewidth=2.5)
            axes.plot(statistics.fmean(values), place, _STAGES[key[1]], color=color, markersize=5)
        axes.set_xlabel(title)
        plain(axes, "x")
    left.set_yticks(range(len(keys)), [_label(key) for key in keys])
    left.invert_yaxis()
    drawn.suptitle(f"d = {dim}: optimization (dots), transfer (diamonds); 100 = independent solution")
    return drawn


def _half_interval(rows: Sequence[Row], references: Mapping[tuple[str, str, str, int], float], measure: str) -> float | None:
    """Half of the 95 % interval of the mean of a measure over seeds, whose test examples are the same; for accuracies only."""
    halves = []
    for row in rows:
        best, start = (references.get((stage, row["task"], row["delta"], row["seed"])) for stage in ("independent", "zero_shot"))
        unit = best if measure == "relative" or best is None or start is None else best - start
        if row["metric"] != "accuracy" or not unit:
            return None
        share = row["score"] / 100
        halves.append(100 * abs(1.96 * 100 * math.sqrt(share * (1 - share) / row["n_test"]) / unit))
    return statistics.fmean(halves)


def _label(key: tuple[str, ...]) -> str:
    if len(key) == 2:
        return key[0] if key[1] == "optimized" else f"{key[0]}, transfer"
    task, _, source, delta = key
    return f"{task}: {delta}" if source == delta else f"{task}: {source} → {delta}"
