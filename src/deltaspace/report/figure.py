"""The figure of a study: relative performance and recovered gain of every task, stage and delta, as dots."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.files import replacing
from deltaspace.study.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colors, told apart by the color-blind.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = {"optimized": "o", "transferred": "D"}


def figure(rows: Sequence[Row]) -> Figure:
    """Dots with the range over seeds: left relative performance, right recovered gain; 100 is the independent solution.

    Raises:
        DeltaspaceError: matplotlib is missing, or the study has no optimized vectors yet.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DeltaspaceError("figures need the package matplotlib", mend="pip install 'deltaspace[figures]'") from None
    part = [row for row in rows if row["stage"] in _MARKERS]
    if not part:
        raise DeltaspaceError("nothing to draw: the study has no optimized vectors yet", mend="run its recipe to the end")
    dim = min(row["dim"] for row in part)
    keys = list(dict.fromkeys((r["task"], r["stage"], r["source_delta"], r["delta"]) for r in part if r["dim"] == dim))
    keys.sort(key=lambda key: (key[0], key[1], str(key[2]), key[3]))
    deltas = list(dict.fromkeys(row["delta"] for row in part))
    drawn = Figure(figsize=(8, 0.9 + 0.22 * len(keys)), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, measure, title in ((left, "relative", "relative performance (%)"), (right, "recovered", "recovered gain (%)")):
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


def save_figure(rows: Sequence[Row], path: Path) -> Path:
    """Draw `figure` into a PNG, SVG or PDF file, atomically. Raises as `figure`."""
    drawn = figure(rows)
    with replacing(path) as temporary:
        drawn.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)
    return path
