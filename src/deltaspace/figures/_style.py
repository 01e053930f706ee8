"""How all figures look: colors that the color-blind tell apart, markers and dashes beside color, type legible in print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deltaspace.averages import Measure
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import check_output, output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colors, told apart by the color-blind; each with another marker and dash, told apart in black and white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
MEASURES: dict[Measure, str] = {"relative": "relative performance (%)", "recovered": "recovered gain (%)"}
FORMATS = (".png", ".svg", ".pdf")
_DPI = 200
_SIZES: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 10,
    # Text stays text in SVG and PDF.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Look:
    """How one of several deltas, or of several projections, is told from the others."""

    color: str
    marker: str
    dash: Any


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name."""
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]) for i, name in enumerate(names)
    }


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        DeltaspaceError: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update(_SIZES)
    return Figure(figsize=(width, height), layout="constrained")


def require_matplotlib() -> None:
    """Raise DeltaspaceError unless matplotlib is installed."""
    if find_spec("matplotlib") is None:
        raise DeltaspaceError("figures need the package matplotlib", mend="pip install 'deltaspace[figures]'")


def plain(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Axes without a box, with a faint grid behind what is drawn."""
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def matrix(
    axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], digits: int, limits: tuple[float, float]
) -> None:
    """A matrix of numbers in cells shaded from white to blue; a cell without a number is white and has a dash."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", COLORS[0]]).with_extremes(bad="#FFFFFF")
    low, high = limits
    axes.imshow(np.ma.masked_invalid(values), cmap=shades, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        dark = np.isfinite(value) and (value - low) / (high - low) > 0.6
        text = f"{value:.{digits}f}" if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def verbatim(figure: Figure) -> Figure:
    """A figure in which a text with $ is that text, and no mathematics."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text():
            text.set_parse_math(False)
    return figure


def check_format(path: Path) -> None:
    """Raise DeltaspaceError unless a figure can be written there: in the format that the name ends with, over nothing else."""
    if path.suffix not in FORMATS:
        raise DeltaspaceError(f"no figure format {path.suffix!r}", expected=".png, .svg or .pdf")
    check_output(path, path.suffix)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, SVG or PDF file, atomically.

    Raises:
        DeltaspaceError: another format, or the file cannot be written.
    """
    check_format(path)
    with output(path, path.suffix) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=_DPI)
    return path
