"""A figure as the command line and the report know it, and the registry of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deltaspace.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results


@dataclass(frozen=True)
class Drawing:
    """How a figure is drawn from a folder, and what the report says about it.

    Args:
        name: as the command line calls it; also that of its file, or of its entry point.
        draw: draws it; raises DeltaspaceError where the folder lacks what it shows.
        drawable: whether the folder has what it shows; the report leaves out what cannot be drawn.
        caption: in the report, a sentence or two.
        of: what its folder is of: a study, or a parameter sweep.
        each_landscape: the report shows it once for each landscape of the study.
        takes: the fields of `Options` that it heeds, beside `width` and `title`, which every figure does; others are refused.
        order: figures stand in the report in the order of these; those of landscapes come first.
    """

    name: str
    draw: Callable[[Results, Options], Figure]
    drawable: Callable[[Results, Options], bool]
    caption: str
    of: Literal["study", "sweep"] = "study"
    each_landscape: bool = False
    takes: tuple[str, ...] = ("dim", "seed")
    order: int = 100

    def figure(self, results: Results, options: Options) -> Figure:
        """What `draw` draws, every text as it is, of the width that was asked for, with a title or without.

        A figure's title is its `suptitle`, or that of its only axes.
        """
        # Here, because they import numpy, which help does not need.
        from deltaspace.figures._size import fit_width, remove_title
        from deltaspace.figures._style import verbatim

        figure = verbatim(self.draw(results, options))
        if not options.title:
            remove_title(figure)
        if options.width is not None:
            fit_width(figure, options.width)
        return figure


FIGURES: Registry[Drawing] = Registry(
    "figure", Drawing, "deltaspace.figures", "deltaspace.figures", objects=True, position=lambda drawing: drawing.order
)
