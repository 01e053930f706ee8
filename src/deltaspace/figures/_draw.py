"""A figure by its name, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES
from deltaspace.figures._options import Options
from deltaspace.figures._results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(name: str, folder: Path | str, options: Options | None = None) -> Figure:
    """A figure of a study, or of a parameter sweep.

    Args:
        name: one of `FIGURES`.
        folder: the study's, or the sweep's.
        options: what can be chosen.

    Raises:
        DeltaspaceError: there is no such figure, the folder is none of that kind, or what is to be drawn is not there yet.
    """
    drawing, results = FIGURES.find(name), Results(folder)
    kind = "sweep" if results.is_sweep else "study"
    if drawing.of != kind:
        others = [other.name for other in FIGURES.values() if other.of == kind]
        raise DeltaspaceError(f"{folder} has no figure {name!r}", found=f"a {kind}'s folder", expected=", ".join(others))
    if kind == "study":
        _ = results.scores  # says what is wrong where the folder is no study
    return drawing.draw(results, options or Options())
