"""A figure by its name, from a folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.figures._drawing import FIGURES
from deltaspace.figures._options import EVERY_FIGURE, Options
from deltaspace.figures._results import Results, check_dim
from deltaspace.figures._size import check_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the command line calls options that it does not call by their field.
_OPTIONS = {"quantity": "--loss", "title": "--no-title"}


def draw(name: str, folder: Path | str, options: Options | None = None) -> Figure:
    """A figure of a study, or of a parameter sweep.

    Args:
        name: one of `FIGURES`.
        folder: the study's, or the sweep's.
        options: what can be chosen.

    Raises:
        DeltaspaceError: there is no such figure, the folder is not of that kind, or what is to be drawn is not there yet.
    """
    options = options or Options()
    drawing, results = FIGURES.find(name), Results(folder, options.seed)
    if options.width is not None:
        check_width(options.width)
    default = Options()
    asked = [field.name for field in fields(Options) if getattr(options, field.name) != getattr(default, field.name)]
    if drawing.each_landscape and {"dim", "seed"} & {*asked}:
        raise DeltaspaceError(f"the figure {name} is of one landscape, which has its d and its seed", mend="choose by its name")
    if unused := [option for option in asked if option not in (*drawing.takes, *EVERY_FIGURE)]:
        listed = ", ".join(_OPTIONS.get(option, f"--{option}") for option in (*drawing.takes, *EVERY_FIGURE))
        raise DeltaspaceError(
            f"{_OPTIONS.get(unused[0], f'--{unused[0]}')} is not for the figure {name}", expected=f"of options, {listed}"
        )
    kind = "sweep" if results.is_sweep else "study"
    if drawing.of != kind:
        others = [other.name for other in FIGURES.values() if other.of == kind]
        raise DeltaspaceError(f"{folder} has no figure {name!r}", found=f"a {kind}'s folder", expected=", ".join(others))
    scores = results.sweep_scores if kind == "sweep" else results.scores  # says what is wrong where the folder is no study
    if options.dim is not None:
        check_dim(options.dim, scores)
    return drawing.figure(results, options)
