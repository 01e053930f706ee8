"""Figures: of a study, every task, stage and delta as dots; of a sweep, lines against what it varies."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.files import replacing
from deltaspace.report.tables import over_seeds
from deltaspace.study.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colors, told apart by the color-blind.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = {"optimized": "o", "transferred": "D"}
_MEASURES = {"relative": "relative performance (%)", "recovered": "recovered gain (%)"}
_LINES = {"optimized": ("o-", "optimization"), "transferred": ("D--", "transfer")}


def _matplotlib() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DeltaspaceError("figures need the package matplotlib", mend="pip install 'deltaspace[figures]'") from None
    return Figure


def figure(rows: Sequence[Row]) -> Figure:
    """Dots with the range over seeds: left relative performance, right recovered gain; 100 is the independent solution.

    Raises:
        DeltaspaceError: matplotlib is missing, or the study has no optimized vectors yet.
    """
    made = _matplotlib()
    part = [row for row in rows if row["stage"] in _MARKERS]
    if not part:
        raise DeltaspaceError("nothing to draw: the study has no optimized vectors yet", mend="run its recipe to the end")
    dim = min(row["dim"] for row in part)
    keys = list(dict.fromkeys((r["task"], r["stage"], r["source_delta"], r["delta"]) for r in part if r["dim"] == dim))
    keys.sort(key=lambda key: (key[0], key[1], str(key[2]), key[3]))
    deltas = list(dict.fromkeys(row["delta"] for row in part))
    drawn = made(figsize=(8, 0.9 + 0.22 * len(keys)), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip((left, right), _MEASURES.items(), strict=True):
        axes.axvline(100, color="0.6", linewidth=1)
        for place, key in enumerate(keys):
            values = [
                r[measure] for r in part if r["dim"] == dim and (r["task"], r["stage"], r["source_delta"], r["delta"]) == key
            ]
            if None in values:
                # The independent solution gained nothing over zero-shot: there is no gain to recover.
                axes.annotate("undefined", (100, place), fontsize=6, va="center")
                continue
            color = _COLORS[deltas.index(key[3]) % len(_COLORS)]
            axes.plot([min(values), max(values)], [place, place], color=color, linewidth=1.5)
            axes.plot(statistics.fmean(values), place, _MARKERS[key[1]], color=color, markersize=5)
        axes.set_xlabel(title)
        axes.grid(axis="x", color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(range(len(keys)), [f"{t}: {d}" if s == d else f"{t}: {s} → {d}" for t, _, s, d in keys], fontsize=8)
    left.invert_yaxis()
    drawn.suptitle(f"d = {dim}: tuned in the subspace (dots), transferred (diamonds); 100 = independent solution", fontsize=9)
    return drawn


def sweep_figure(rows: Sequence[Row]) -> Figure:
    """Both measures against each thing that a sweep varies in numbers, a line for each kind of projections.

    Where several things vary, a line keeps the others at the most that the sweep has of them.

    Raises:
        DeltaspaceError: matplotlib is missing, or no such thing varies yet.
    """
    made = _matplotlib()
    axis_names = {"dim": "d", "source_tasks": "source tasks", "deltas": "deltas"}
    most = {key: max((row[key] for row in rows), default=0) for key in axis_names}
    varied = [key for key in axis_names if len({row[key] for row in rows}) > 1]
    if not varied:
        raise DeltaspaceError(
            "nothing to draw: only one point is there", mend="vary d, source_tasks or deltas, or let the sweep end"
        )
    kinds = list(dict.fromkeys(row["projection"] for row in rows))
    drawn = made(figsize=(4 * len(varied), 6.5), layout="constrained")
    grid = drawn.subplots(2, len(varied), squeeze=False, sharey="row")
    for column, key in enumerate(varied):
        part = [row for row in rows if all(row[other] == most[other] for other in varied if other != key)]
        for axes, measure, title in zip(grid[:, column], _MEASURES, _MEASURES.values(), strict=True):
            for kind, (stage, (style, label)) in itertools.product(kinds, _LINES.items()):
                own = [row for row in part if row["projection"] == kind and row["stage"] == stage]
                values = {at: over_seeds([row for row in own if row[key] == at], measure) for at in sorted({r[key] for r in own})}
                values = {at: found for at, found in values.items() if found}
                axes.plot(
                    list(values),
                    [statistics.fmean(found) for found in values.values()],
                    style,
                    color=_COLORS[kinds.index(kind) % len(_COLORS)],
                    label=f"{kind}, {label}",
                    markersize=4,
                )
            axes.set_xlabel(axis_names[key])
            axes.set_ylabel(title if column == 0 else "")
            axes.grid(color="0.92")
            axes.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return drawn


def save_figure(drawn: Figure, path: Path) -> Path:
    """Write a figure as a PNG, SVG or PDF file, atomically."""
    with replacing(path) as temporary:
        drawn.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)
    return path
