"""The report of a study: one HTML file with everything in it, which opens in a browser without a server or a network."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.averages import average_rows
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import FIGURES, Drawing, Options, Results
from deltaspace.landscape.region import DEFAULT_THRESHOLD
from deltaspace.names import counted
from deltaspace.report.page_landscapes import landscape_data, shade_colors
from deltaspace.report.page_recipe import model_title, shown_recipe
from deltaspace.report.page_tables import page_tables
from deltaspace.storage import check_output, output, path_of, resolved
from deltaspace.study import load_recipe
from deltaspace.training import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.study import Recipe, ScoreRow

_DPI = 110
# A phone shows so many inches of a figure at the size of print, with two or three dots of its screen for each of a picture's.
_PHONE_INCHES = 3.25
_PHONE_DPI = 220
_SCRIPTS = ("page.js", "tables.js", "landscape.js")


def write_report(study: Path | str, path: Path | str | None = None, *, progress: Progress | None = None) -> Path:
    """Write a study's report.

    Args:
        study: its folder.
        path: where to; `report/index.html` in the study by default.
        progress: called with (figures drawn, figures, name).

    Returns:
        Where it is.

    Raises:
        DeltaspaceError: the folder is no study or has no optimized vectors yet, matplotlib is missing, or the file cannot be
            written.
    """
    study = path_of(study)
    path = study / "report" / "index.html" if path is None else path_of(path)
    check_output(path, ".html")
    results = Results(study)
    if results.is_sweep:
        raise DeltaspaceError(f"{study} is a sweep", expected="a study", mend="name one of the studies in it")
    if not any(row.stage == "optimized" for row in results.scores):
        raise DeltaspaceError(f"{study} has nothing to report yet", mend="run its recipe to the end")
    recipe = load_recipe(study / "recipe.yaml")
    data = {
        "rows": [asdict(row) for row in results.scores],
        "tables": page_tables(results),
        "threshold": DEFAULT_THRESHOLD,
        "shades": shade_colors(),
        "landscapes": [landscape_data(name, landscape) for name, landscape in results.landscapes.items()],
    }
    parts = {
        "title": html.escape(f"{resolved(study).name}: {_subject(recipe)}"),
        "summary": html.escape(_summary(recipe, results.scores)),
        "recipe": html.escape(shown_recipe((study / "recipe.yaml").read_text(encoding="utf-8"))),
        "figures": "\n".join(_figures(results, progress)),
        "data": _json(data),
        "landscape": _asset("landscape.html")
        if results.landscapes
        else "<p>This study has no landscape yet: <code>deltaspace landscape STUDY --task TASK</code>.</p>",
        "style": _asset("page.css"),
        "script": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    # In one pass: a part that is put in may itself have double braces.
    text = re.sub(r"\{\{(\w+)\}\}", lambda braces: parts[braces[1]], _asset("page.html"))
    with output(path, ".html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _asset(name: str) -> str:
    return (files("deltaspace") / "report" / "assets" / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a script element; NaN, which JSON lacks, as null."""
    return json.dumps(_without_nan(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _subject(recipe: Recipe) -> str:
    *others, last = recipe.deltas
    deltas = f"{', '.join(others)} and {last}" if others else last
    return f"{deltas} of {model_title(recipe)} in {' and '.join(map(str, recipe.dim))} dimensions"


def _summary(recipe: Recipe, rows: Sequence[ScoreRow]) -> str:
    tasks = recipe.tasks
    judged = f"from {counted(len(tasks.source), 'source task')}; judged on {counted(len(tasks.unseen), 'unseen task')}"
    dims = " and ".join(map(str, recipe.dim))
    text = f"One space of {dims} {'dimension' if dims == '1' else 'dimensions'} for {', '.join(recipe.deltas)}, {judged}."
    measured = []
    for stage, what in (
        ("optimized", "tuned in it, a task reaches"),
        ("transferred", "transferred to another delta without training,"),
    ):
        for row in average_rows(rows):
            if (row.stage, row.delta, row.dim) == (stage, "average", min(recipe.dim)) and row.relative is not None:
                recovered = "" if row.recovered is None else f" and {row.recovered:.1f} % of its gain"
                measured.append(f"{what} {row.relative:.1f} % of the independent solution's score{recovered}")
    return text + (" On average, " + "; ".join(measured) + "." if measured else "")


def _figures(results: Results, progress: Progress | None) -> Iterator[str]:
    """The figures that the study has the data for, as HTML: those of each landscape, then those of the whole study."""
    dim = min(row.dim for row in results.scores if row.stage == "optimized" and row.dim is not None)
    drawings = [drawing for drawing in FIGURES.values() if drawing.of == "study"]
    wanted: list[tuple[Drawing, str, Options]] = [
        (drawing, f"{drawing.caption} Landscape {name}.", Options(landscape=name))
        for name in results.landscapes
        for drawing in drawings
        if drawing.each_landscape
    ]
    wanted += [(drawing, drawing.caption, Options(dim=dim)) for drawing in drawings if not drawing.each_landscape]
    wanted = [entry for entry in wanted if entry[0].drawable(results, entry[2])]
    for number, (drawing, caption, options) in enumerate(wanted, start=1):
        yield _figure(drawing, results, options, caption, number)
        if progress is not None:
            progress(number, len(wanted), drawing.name)


def _figure(drawing: Drawing, results: Results, options: Options, text: str, number: int) -> str:
    """A figure as HTML, in its natural width and, for phones, in that of a paper's column, whose text stays legible there."""
    figure = drawing.figure(results, options)
    width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
    try:
        narrow = drawing.figure(results, replace(options, width=_PHONE_INCHES))
    except DeltaspaceError:  # its numbers need more room than a phone has
        phone = ""
    else:
        phone = f'<source media="(max-width: 34rem)" srcset="{_png(narrow, _PHONE_DPI)}">'
    caption = html.escape(text)
    return (
        f'<figure><picture>{phone}<img src="{_png(figure, _DPI)}" alt="{caption}" width="{width}" height="{height}"></picture>'
        f"<figcaption>Figure {number}. {caption}</figcaption></figure>"
    )


def _png(figure: Figure, dpi: int) -> str:
    """A figure as an address that holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
