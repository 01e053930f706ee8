"""A figure by its name, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES
from deltaspace.figures._options import Options
from deltaspace.figures._results import Results, check_dim

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
    options = options or Options()
    drawing, results = FIGURES.find(name), Results(folder, options.seed)
    kind = "sweep" if results.is_sweep else "study"
    if drawing.of != kind:
        others = [other.name for other in FIGURES.values() if other.of == kind]
        raise DeltaspaceError(f"{folder} has no figure {name!r}", found=f"a {kind}'s folder", expected=", ".join(others))
    scores = results.sweep_scores if kind == "sweep" else results.scores  # says what is wrong where the folder is no study
    if options.dim is not None:
        check_dim(options.dim, scores)
    if drawing.each_landscape and (options.dim, options.seed) != (None, None):
        raise DeltaspaceError(f"the figure {name} is of one landscape, which has its d and its seed", mend="choose by its name")
    return drawing.draw(results, options)
