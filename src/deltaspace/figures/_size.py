"""Figures for papers: of a column's width, with text of a legible size that neither overlaps nor is cut, and without a title."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# In inches: narrower holds no text beside a picture, wider is no sheet of paper.
_NARROWEST, _WIDEST = 2.0, 50.0
# In points: smaller text is not legible in print.
_SMALLEST = 7.0
# In inches: the height in which a figure is first laid out, at least.
_ROOM = 3.0
# Layout depends on text and text on layout; more passes change nothing that can be seen.
_PASSES = 4


def check_width(width: float) -> None:
    """Raise DeltaspaceError unless a figure can be so wide, in inches."""
    if not _NARROWEST <= width <= _WIDEST:
        raise DeltaspaceError(
            f"no figure is {width:g} inches wide",
            expected=f"{_NARROWEST:g} to {_WIDEST:g} inches",
            mend="a column of a paper has about 3.25, a page 6.75",
        )


def remove_title(figure: Figure) -> None:
    """Leave out a figure's title, which a paper has in its caption; names of panels stay."""
    if figure.get_suptitle():
        figure.suptitle("").set_in_layout(False)
    elif len(panels := _panels(figure)) == 1:
        panels[0].set_title("")


def fit_width(figure: Figure, width: float) -> None:
    """Make a figure so wide, in inches: smaller text, but never below 7 points, legends below, the height as it is needed.

    Raises:
        DeltaspaceError: no figure is so wide, or numbers in cells would overlap.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    check_width(width)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    panels = _panels(figure)
    shapes = [axes.get_window_extent().height / axes.get_window_extent().width for axes in panels]
    ratio = width / figure.get_figwidth()
    _scale_text(figure, min(1.0, ratio))
    # Room for all text at first: a figure of few lines has less than its title needs once it is narrow.
    figure.set_size_inches(width, max(figure.get_figheight() * ratio, _ROOM))
    _move_legends(figure, panels)
    if len(panels) == 1 and (title := panels[0].get_title()):
        figure.suptitle(title, fontsize=panels[0].title.get_fontsize())
        panels[0].set_title("")
    # The height is chosen so that equal aspects hold; until then they would move what is measured.
    aspects = [axes.get_aspect() for axes in panels]
    for axes in panels:
        axes.set_aspect("auto")
    unbroken = {text: text.get_text() for text in _texts_to_wrap(figure, panels)}
    for _ in range(_PASSES):
        for text, words in unbroken.items():
            text.set_text(words)
        figure.draw_without_rendering()
        _wrap_text(figure, panels)
        _turn_ticks(panels)
        figure.draw_without_rendering()
        figure.set_figheight(figure.get_figheight() + _lacking_height(panels, shapes))
    for axes, aspect in zip(panels, aspects, strict=True):
        axes.set_aspect(aspect)
    figure.draw_without_rendering()
    _check_cells(panels, width)


def _panels(figure: Figure) -> list[Axes]:
    """All axes but those of color bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def _scale_text(figure: Figure, ratio: float) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(_scaled(float(text.get_fontsize()), ratio))
    for axes in figure.axes:
        for name in ("x", "y"):
            labels = axes.xaxis.get_ticklabels() if name == "x" else axes.yaxis.get_ticklabels()
            if labels:
                # Of ticks that a later layout makes, too.
                axes.tick_params(axis=name, labelsize=labels[0].get_fontsize())


def _scaled(size: float, ratio: float) -> float:
    return max(min(size, _SMALLEST), size * ratio)


def _move_legends(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend below everything, in as many columns as fit, in place of those that would cover what is drawn."""
    entries = {}
    size = _SMALLEST
    for legend in [*figure.legends, *(axes.get_legend() for axes in panels)]:
        if legend is not None:
            entries.update(
                {text.get_text(): handle for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)}
            )
            size = float(legend.get_texts()[0].get_fontsize())
            legend.remove()
    for columns in range(min(3, len(entries)), 0, -1):
        texts = [textwrap.fill(text, _letters(figure, size)) for text in entries]
        legend = figure.legend(
            [handle for handle in entries.values() if handle is not None],
            texts,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=size,
            columnspacing=1.2,
        )
        figure.draw_without_rendering()
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _letters(figure: Figure, size: float) -> int:
    """How many letters a line of a legend holds: they are about half as wide as high, and its sign as wide as five."""
    return max(12, int(figure.get_figwidth() * 72 / (0.52 * size)) - 6)


def _title(figure: Figure) -> Text | None:
    return next((text for text in figure.texts if text.get_text() and text.get_text() == figure.get_suptitle()), None)


def _texts_to_wrap(figure: Figure, panels: Iterable[Axes]) -> list[Text]:
    around = [text for axes in panels for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    return around if (title := _title(figure)) is None else [title, *around]


def _wrap_text(figure: Figure, panels: Iterable[Axes]) -> None:
    if (title := _title(figure)) is not None:
        _wrap(title, 0.96 * figure.bbox.width)
    for axes in panels:
        box = axes.get_window_extent()
        _wrap(axes.title, box.width)
        _wrap(axes.xaxis.label, box.width)
        _wrap(axes.yaxis.label, box.height)


def _wrap(text: Text, room: float) -> None:
    """Break lines that are longer than there is room, in pixels, between words."""
    words = text.get_text()
    letters = max(map(len, words.split("\n")))
    while _length(text) > room and letters > 1:
        letters -= 1
        text.set_text("\n".join(textwrap.fill(line, letters, break_long_words=False) for line in words.split("\n")))
        if letters <= max(map(len, words.split())):
            return


def _length(text: Text) -> float:
    """Of the longest line, in pixels, along the text."""
    box = text.get_window_extent()
    return float(box.height if text.get_rotation() == 90 else box.width)


def drawn_ticks(axis: Axis) -> list[Text]:
    """The labels of the ticks that are on the axis: a locator gives some beyond its ends too."""
    low, high = sorted(axis.get_view_interval())
    shown = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for label in shown if label.get_visible() and label.get_text()]


def _turn_ticks(panels: Iterable[Axes]) -> None:
    """Turn the labels below an axis where they would overlap."""
    for axes in panels:
        boxes = [label.get_window_extent() for label in drawn_ticks(axes.xaxis)]
        if any(left.x1 > right.x0 - 1 for left, right in pairwise(boxes) if left.width):
            axes.tick_params(axis="x", labelrotation=90)


def _lacking_height(panels: Iterable[Axes], shapes: Iterable[float]) -> float:
    """By how much a figure must be higher, in inches, for its panels to have their shapes and the labels beside them room."""
    lacking = []
    for axes, shape in zip(panels, shapes, strict=True):
        figure = axes.get_figure(root=True)
        assert figure is not None
        laid_out = axes.get_position(original=True)
        width, height = laid_out.width * figure.get_figwidth(), laid_out.height * figure.get_figheight()
        boxes = [label.get_window_extent() for label in drawn_ticks(axes.yaxis)]
        middles = sorted((box.y0 + box.y1) / 2 for box in boxes)
        steps = [above - below for below, above in pairwise(middles)]
        crowding = max((box.height for box in boxes), default=0.0) / min(steps) if steps else 0.0
        drawn = axes.get_window_extent().height / figure.dpi
        layout = axes.get_subplotspec()
        rows = 1 if layout is None else layout.get_gridspec().nrows
        lacking.append(rows * (max(width * shape, drawn * crowding) - height))
    return max(lacking)


def _check_cells(panels: Iterable[Axes], width: float) -> None:
    for axes in panels:
        if axes.images:
            cell = axes.get_window_extent().width / axes.images[0].get_size()[1]
            if any(text.get_window_extent().width > cell for text in axes.texts):
                raise DeltaspaceError(f"the figure's numbers do not fit {width:g} inches", mend="give it more --width")
