"""The report of a study: one HTML file with everything in it, which opens in a browser without a server or a network."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import write_text
from deltaspace.landscape import Landscape, Region, regions
from deltaspace.figures import Options, draw
from deltaspace.report.tables import average_rows, region_rows, task_rows
from deltaspace.study.folder import Row, rows
from deltaspace.study.history import history
from deltaspace.study.landscapes import landscapes
from deltaspace.study.sweep import is_sweep
from deltaspace.training import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The interactive landscape's thresholds: for each, the interval of every share is worked out here.
THRESHOLDS = tuple(float(q) for q in range(80, 101))
_DPI = 110
_FIGURES = {
    "scores": "Relative performance and recovered gain of every unseen task; 100 is the independent solution, thick lines "
    "are the range over seeds, thin ones the 95 % interval over test examples.",
    "transfer": "Averages over the unseen tasks: a vector found through a row's delta, decoded as a column's.",
    "similarity": "Cosine of the vectors that two deltas found for one task, seen from the mean of the source tasks' codes.",
    "map": "Tasks by their intrinsic vectors, on the two principal axes of all of them.",
    "curves": "Score and loss on dev over the steps of the trainings, mean over tasks.",
}
_LABELS = {"dim": "d", "n_test": "n"}
_TASK_LABELS = {
    "zero_shot": "zero-shot",
    "optimized_relative": "optimized rel. %",
    "optimized_recovered": "optimized rec. %",
    "transferred_relative": "transferred rel. %",
    "transferred_recovered": "transferred rec. %",
}
_LANDSCAPE_FIGURES = {
    "landscape": "Every delta's border at 95 % of its best, and the common region in gray.",
    "panels": "Scores of each delta, with its border at 95 % of its best and the way of its optimizer.",
}


def write_report(study: Path, path: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Write a study's report.

    Args:
        study: its folder.
        path: where to; `report/index.html` in the study by default.
        progress: called with (figures drawn, figures, name).

    Returns:
        Where it is.

    Raises:
        DeltaspaceError: the folder is no study or has no optimized vectors yet, or the file cannot be written.
    """
    if is_sweep(study):
        raise DeltaspaceError(f"{study} is a sweep", expected="a study", mend="name one of the studies in it")
    found = rows(study)
    if not any(row["stage"] == "optimized" for row in found):
        raise DeltaspaceError(f"{study} has nothing to report yet", mend="run its recipe to the end")
    slices = landscapes(study)
    recipe = yaml.safe_load((study / "recipe.yaml").read_text(encoding="utf-8"))
    parts = {
        "title": html.escape(f"{study.resolve().name}: a study of {Path(str(recipe['model'])).name}"),
        "summary": html.escape(_summary(recipe, found)),
        "recipe": html.escape((study / "recipe.yaml").read_text(encoding="utf-8")),
        "figures": "\n".join(_figures(study, found, slices, progress)),
        "data": _json({"rows": found, "tables": _tables(study, found, slices), "landscapes": _landscapes(slices)}),
        "landscape": _asset("landscape.html")
        if slices
        else "<p>This study has no landscape yet: <code>deltaspace landscape STUDY --task TASK</code>.</p>",
        "style": _asset("page.css"),
        "script": _asset("page.js"),
    }
    # In one pass: what is put in may itself look like a place to put something in.
    text = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _asset("page.html"))
    path = path or study / "report" / "index.html"
    write_text(path, text)
    return path


def _asset(name: str) -> str:
    return (files("deltaspace") / "report" / "assets" / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a script element; NaN, which JSON lacks, as null."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _summary(recipe: dict[str, Any], found: Sequence[Row]) -> str:
    sources, unseen = (len(recipe["tasks"][kind]) for kind in ("source", "unseen"))
    deltas = ", ".join(recipe["deltas"])
    dims = " and ".join(map(str, recipe["dim"]))
    tasks = f"from {_count(sources, 'source task')}; judged on {_count(unseen, 'unseen task')}"
    text = f"One space of {dims} dimensions for {deltas}, {tasks}."
    measured = []
    for stage, name in (
        ("optimized", "tuned in it, a task reaches"),
        ("transferred", "transferred to another delta without training,"),
    ):
        for own in average_rows([row for row in found if row["stage"] == stage]):
            if own["delta"] == "average" and own["relative"] is not None and own["dim"] == min(recipe["dim"]):
                recovered = "" if own["recovered"] is None else f" and {own['recovered']:.1f} % of its gain"
                measured.append(f"{name} {own['relative']:.1f} % of the independent solution's score{recovered}")
    return text + (" On average, " + "; ".join(measured) + "." if measured else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _tables(study: Path, found: Sequence[Row], slices: dict[str, Landscape]) -> list[dict[str, Any]]:
    """What the page shows as tables; the one without rows of its own shows all rows of the study."""
    tables = [
        _table(
            "averages",
            "Averages over the unseen tasks",
            average_rows(found),
            {"relative": "relative %", "recovered": "recovered %"},
        ),
        _table("tasks", "Unseen tasks, averages over deltas and seeds", task_rows(found), _TASK_LABELS),
    ]
    if slices:
        labels = {"share": "share %", "low": "from", "high": "to"}
        tables.append(_table("regions", "Common regions, 95 % intervals over the examples", region_rows(slices), labels))
    tables.append(_table("rows", "Every score", found, {}, with_rows=False))
    if runs := history(study):
        tables.append(_table("runs", "What ran where", [_run(own) for own in runs], {}))
    return tables


def _table(
    name: str, title: str, own: Sequence[dict[str, Any]], labels: dict[str, str], with_rows: bool = True
) -> dict[str, Any]:
    columns = []
    for key in dict.fromkeys(key for row in own for key in row):
        values = [row[key] for row in own if row.get(key) is not None]
        if not values:
            continue
        number = all(isinstance(value, int | float) for value in values)
        columns.append({"key": key, "label": labels.get(key, _LABELS.get(key, key.replace("_", " "))), "number": number})
    found: dict[str, Any] = {"id": name, "title": title, "columns": columns}
    return found | ({"rows": list(own)} if with_rows else {})


def _run(entry: dict[str, Any]) -> dict[str, Any]:
    machine = entry["machine"]
    return {
        "started": entry["started"],
        "made": ", ".join(f"{stage}: {count}" for stage, count in entry["artefacts"].items()),
        "seconds": round(sum(entry["seconds"].values()), 1),
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}, {machine['system']}",
        "versions": ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
        + f", Python {machine['python']}",
    }


def _landscapes(slices: dict[str, Landscape]) -> list[dict[str, Any]]:
    return [_landscape(name, own) for name, own in slices.items()]


def _landscape(name: str, own: Landscape) -> dict[str, Any]:
    found = regions(own, THRESHOLDS)
    done = own.done.reshape(len(own.deltas), -1)
    scores, losses = (own.filled(what).reshape(len(own.deltas), -1) for what in ("score", "loss"))
    return {
        "name": name,
        "task": own.task,
        "metric": own.metric,
        "examples": f"{own.examples} {own.split} examples",
        "ticks": [list(ticks) for ticks in own.slice.ticks],
        "labels": list(own.slice.labels),
        "deltas": [
            {
                "name": delta,
                "score": score.tolist(),
                "loss": [round(float(value), 4) for value in loss],
                "filled": np.flatnonzero(~known).tolist(),
                "path": own.paths.get(delta, []),
                "mark": own.marks.get(delta),
            }
            for delta, score, loss, known in zip(own.deltas, scores, losses, done, strict=True)
        ],
        "points": [{"name": key, "place": list(place)} for key, place in own.slice.marks.items() if key not in own.marks],
        "regions": [_intervals(region) for region in found],
    }


def _intervals(region: Region) -> dict[str, Any]:
    return {"threshold": region.threshold, "shares": {key: [share.low, share.high] for key, share in region.shares.items()}}


def _figures(study: Path, found: Sequence[Row], slices: dict[str, Landscape], progress: Progress | None) -> Iterator[str]:
    dim = min(row["dim"] for row in found if row["stage"] == "optimized")
    wanted: list[tuple[str, str, Options]] = [
        (name, f"{_LANDSCAPE_FIGURES[name]} Landscape {own}.", Options(landscape=own))
        for own in slices
        for name in _LANDSCAPE_FIGURES
    ]
    drawable = _drawable(found)
    wanted += [(name, text, Options(dim=dim)) for name, text in _FIGURES.items() if drawable[name]]
    for number, (name, text, options) in enumerate(wanted, start=1):
        yield _figure(draw(name, study, options), text, number)
        if progress is not None:
            progress(number, len(wanted), name)


def _drawable(found: Sequence[Row]) -> dict[str, bool]:
    """Which figures a study has the data for."""
    tuned = {(row["task"], row["delta"]) for row in found if row["stage"] == "optimized"}
    tasks = {row["task"] for row in found if row["stage"] in ("optimized", "independent")}
    several = len({delta for _, delta in tuned}) > 1
    transferred = any(row["stage"] == "transferred" for row in found)
    return {"scores": True, "transfer": transferred, "similarity": several, "map": len(tuned) + len(tasks) > 3, "curves": True}


def _figure(drawn: Figure, text: str, number: int) -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=_DPI)
    width, height = (round(inches * _DPI) for inches in drawn.get_size_inches())
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = html.escape(text)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}" width="{width}" height="{height}" loading="lazy" '
        f'decoding="async"><figcaption>Figure {number}. {caption}</figcaption></figure>'
    )
