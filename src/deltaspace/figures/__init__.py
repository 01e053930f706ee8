"""Figures: each is drawn from a study's folder by `draw`, or from its data by a function.

A new figure is one file in this package that adds a `Drawing` to `FIGURES`, or, in another package, an entry point of the group
`deltaspace.figures`. Nothing heavy is imported before a figure is asked for.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from deltaspace.figures._drawing import FIGURES, Drawing

if TYPE_CHECKING:
    from deltaspace.figures._draw import draw
    from deltaspace.figures._options import Options, Quantity
    from deltaspace.figures._results import Results
    from deltaspace.figures._style import check_format, save_figure
    from deltaspace.figures.curves import curves_figure
    from deltaspace.figures.disagreement import disagreement_figure
    from deltaspace.figures.landscape import landscape_figure
    from deltaspace.figures.map import map_figure
    from deltaspace.figures.panels import panels_figure
    from deltaspace.figures.scores import scores_figure
    from deltaspace.figures.similarity import cosines, similarity_figure
    from deltaspace.figures.sweep import sweep_figure
    from deltaspace.figures.transfer import transfer_figure

__all__ = [
    "FIGURES",
    "Drawing",
    "Options",
    "Quantity",
    "Results",
    "check_format",
    "cosines",
    "curves_figure",
    "disagreement_figure",
    "draw",
    "figure_names",
    "landscape_figure",
    "map_figure",
    "panels_figure",
    "save_figure",
    "scores_figure",
    "similarity_figure",
    "sweep_figure",
    "transfer_figure",
]

_MODULES = {
    "Options": "_options",
    "Quantity": "_options",
    "Results": "_results",
    "check_format": "_style",
    "cosines": "similarity",
    "draw": "_draw",
    "save_figure": "_style",
}


def figure_names() -> list[str]:
    """The names of all figures, those of other packages included, without importing any.

    A figure's file has the figure's name; so has the entry point of one of another package.
    """
    modules = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return list(dict.fromkeys([*modules, *(entry.name for entry in entry_points(group=FIGURES.group))]))


if not TYPE_CHECKING:  # a checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _MODULES.get(name, name.removesuffix("_figure"))
        return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
