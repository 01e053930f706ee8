"""Tables like the paper's: optimization per delta (its Table 1) and transfer per pair of deltas (its Table 2)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from deltaspace.landscape import Landscape, regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD
from deltaspace.study.folder import Row

_INITIAL = {"adapter": "A", "lora": "L", "prefix": "P"}
# More pairs of deltas than these fit 100 columns as a matrix only.
_PAIRS = 6
# What tells a sweep's points apart.
PLACE = ("projection", "source_tasks", "deltas", "dim")


def tables(rows: Sequence[Row]) -> list[Table]:
    """The tables of a study's rows: scores, then for every d optimization and transfer; mean ± spread over seeds."""
    dims = sorted({row["dim"] for row in rows if row["dim"] is not None})
    found = [_scores(rows)]
    for dim in dims:
        for stage, title in (("optimized", "optimization"), ("transferred", "transfer")):
            part = [row for row in rows if row["dim"] == dim and row["stage"] == stage]
            if len({(row["source_delta"], row["delta"]) for row in part}) > _PAIRS:
                found.append(_matrix(part, f"Subspace {title}, d = {dim}: relative performance|recovered gain (%), all tasks"))
            elif part:
                found.append(_stage(part, f"Subspace {title}, d = {dim}: relative performance|recovered gain (%)"))
        if any(row["dim"] == dim and row["stage"] == "rival" for row in rows):
            found.append(_ways(rows, dim))
    return found


def _ways(rows: Sequence[Row], dim: int) -> Table:
    """The subspace beside its rivals, the untuned model and the full deltas: averages over the unseen tasks."""
    tuned = [row for row in rows if row["dim"] == dim]
    unseen = {row["task"] for row in tuned}
    ways: dict[str, list[Row]] = {}
    for stage, name in (("zero_shot", "zero-shot"), ("independent", "full delta")):
        ways[name] = [row for row in rows if row["stage"] == stage and row["task"] in unseen]
    ways["subspace"] = [row for row in tuned if row["stage"] == "optimized"]
    for row in tuned:
        if row["stage"] == "rival":
            ways.setdefault(row["rival"], []).append(row)
    table = Table(title=f"Ways of tuning about {dim} numbers: averages over the unseen tasks", title_justify="left")
    for heading in ("way", "delta", "numbers", "score", "relative %", "recovered %"):
        table.add_column(heading, justify="left" if heading in ("way", "delta") else "right")
    for name, own in ways.items():
        deltas = _unique(row["delta"] for row in own)
        for delta in deltas:
            table.add_row(name, delta, *_measures([row for row in own if row["delta"] == delta]))
        if len(deltas) > 1:
            table.add_row(name, "average", *_measures(own), style="bold")
    return table


def _measures(rows: Sequence[Row]) -> list[str]:
    numbers = [row["tuned"] for row in rows]
    cells = ["–" if None in numbers else f"{statistics.fmean(numbers):g}"]
    return cells + [spread(over_seeds(rows, key)) for key in ("score", "relative", "recovered")]


def sweep_table(rows: Sequence[Row]) -> Table:
    """A sweep's points, one a line: relative performance and recovered gain of both stages, mean ± spread over seeds."""
    table = Table(title="Sweep: averages over the unseen tasks, relative performance|recovered gain (%)", title_justify="left")
    for heading in (*PLACE, "seeds", "optimization", "transfer"):
        table.add_column(
            {"source_tasks": "tasks", "dim": "d"}.get(heading, heading), justify="left" if heading == "projection" else "right"
        )
    for place in _unique(tuple(row[key] for key in PLACE) for row in rows):
        own = [row for row in rows if tuple(row[key] for key in PLACE) == place]
        cells = []
        for stage in ("optimized", "transferred"):
            pair = [over_seeds([row for row in own if row["stage"] == stage], key) for key in ("relative", "recovered")]
            cells.append("|".join(spread(values) for values in pair))
        table.add_row(*map(str, place), str(len(_unique(row["seed"] for row in own))), *cells)
    return table


def over_seeds(rows: Sequence[Row], key: str) -> list[float]:
    """The mean of a measure over rows, for each seed; empty where a row lacks it."""
    values = [average([row for row in rows if row["seed"] == seed], key) for seed in _unique(row["seed"] for row in rows)]
    return [] if None in values else [value for value in values if value is not None]


def _scores(rows: Sequence[Row]) -> Table:
    part = [row for row in rows if row["stage"] in ("zero_shot", "independent")]
    deltas = _unique(row["delta"] for row in part)
    table = Table(title="Scores on test: zero-shot → independent", title_justify="left")
    for heading in ("task", "metric", "n", *deltas):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for task in _unique(row["task"] for row in part):
        own = [row for row in part if row["task"] == task]
        cells = []
        for delta in deltas:
            pair = [[r["score"] for r in own if r["delta"] == delta and r["stage"] == s] for s in ("zero_shot", "independent")]
            cells.append(f"{spread(pair[0])} → {spread(pair[1])}")
        table.add_row(task, own[0]["metric"], str(own[0]["n_test"]), *cells)
    return table


def _stage(rows: Sequence[Row], title: str) -> Table:
    pairs = _unique((row["source_delta"], row["delta"]) for row in rows)
    # Six pairs leave no room for decimals in 100 columns.
    digits = 1 if len(pairs) < 4 else 0
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    for source, delta in pairs:
        heading = delta if source == delta else f"{_INITIAL.get(source, source)}→{_INITIAL.get(delta, delta)}"
        table.add_column(heading, justify="right")
    table.add_column("average", justify="right", style="bold")
    for task in _unique(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        cells = [_cell((row for row in own if (row["source_delta"], row["delta"]) == pair), digits) for pair in pairs]
        table.add_row(task, *cells, _cell(own))
    table.add_section()
    averages = [_cell((row for row in rows if (row["source_delta"], row["delta"]) == pair), digits) for pair in pairs]
    table.add_row("average", *averages, _cell(rows), style="bold")
    return _captioned(table, title, rows)


def _matrix(rows: Sequence[Row], title: str) -> Table:
    """Averages over all tasks for every pair of deltas: from a line's delta to a column's."""
    sources, deltas = (_unique(row[key] for row in rows) for key in ("source_delta", "delta"))
    table = Table(title=title, title_justify="left")
    table.add_column("from ↓ to →")
    for heading in (*deltas, "average"):
        table.add_column(heading, justify="right")
    for source in sources:
        own = [row for row in rows if row["source_delta"] == source]
        cells = [_cell([row for row in own if row["delta"] == delta], 0) for delta in deltas]
        table.add_row(source, *cells, _cell(own))
    table.add_section()
    table.add_row("average", *(_cell([r for r in rows if r["delta"] == delta], 0) for delta in deltas), _cell(rows), style="bold")
    return _captioned(table, title, rows)


def _captioned(table: Table, title: str, rows: Sequence[Row]) -> Table:
    """The table with its averages over seeds below, wide enough for that and its title."""
    caption = _over_seeds(rows)
    if caption:
        table.caption, table.caption_justify = caption, "left"
    table.min_width = max(len(title), len(caption or ""))
    return table


def _over_seeds(rows: Sequence[Row]) -> str | None:
    """The averages over tasks and deltas as mean ± standard deviation over seeds; None for one seed."""
    seeds = _unique(row["seed"] for row in rows)
    if len(seeds) < 2:
        return None
    parts = [spread(over_seeds(rows, key)) for key in ("relative", "recovered")]
    return f"average, mean ± standard deviation over {len(seeds)} seeds: {'|'.join(parts)}"


def _cell(rows: Iterable[Row], digits: int = 1) -> str:
    own = list(rows)
    relative, recovered = (average(own, key) for key in ("relative", "recovered"))
    return "|".join("–" if value is None else f"{value:.{digits}f}" for value in (relative, recovered))


def average(rows: Sequence[Row], key: str) -> float | None:
    """Mean of a measure over rows; None where a row lacks it (nothing is dropped)."""
    values = [row[key] for row in rows]
    return None if not values or None in values else statistics.fmean(values)


def spread(values: Sequence[float]) -> str:
    """Mean, with the standard deviation where there are several."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean}±{statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _unique(values: Iterable[object]) -> list:
    return list(dict.fromkeys(values))


def info_tables(found: Mapping[str, Any]) -> list[Table]:
    """What `deltaspace.subspace.pretrained.describe` says, as tables."""
    title = f"{found['dim']} dimensions of {found['model'] or 'an unnamed model'} ({found['model_fingerprint'][:12]})"
    deltas = Table(title=title, title_justify="left", min_width=len(title))
    for heading in ("delta", "parameters", "projection", "length of a displacement"):
        deltas.add_column(heading, justify="left" if heading in ("delta", "projection") else "right")
    for name, own in found["deltas"].items():
        deltas.add_row(name, f"{own['parameters']:,}", own["projection"], f"{own['scale']:.3g}")
    tasks = Table(title=f"{len(found['source_tasks'])} source tasks, {len(found['tasks'])} vectors", title_justify="left")
    tasks.add_column("task")
    tasks.add_column("vectors found through")
    for task in found["source_tasks"]:
        tasks.add_row(task, "(source)")
    for task in _unique(entry["task"] for entry in found["tasks"]):
        tasks.add_row(task, ", ".join(entry["delta"] for entry in found["tasks"] if entry["task"] == task))
    return [deltas, tasks]


def average_rows(rows: Sequence[Row]) -> list[Row]:
    """For every d and stage, both measures averaged over the unseen tasks: for every delta (that was decoded) and all."""
    found = []
    for dim, stage in sorted({(row["dim"], row["stage"]) for row in rows if row["stage"] in ("optimized", "transferred")}):
        part = [row for row in rows if (row["dim"], row["stage"]) == (dim, stage)]
        for delta in [*_unique(row["delta"] for row in part), "average"]:
            own = part if delta == "average" else [row for row in part if row["delta"] == delta]
            found.append(
                {"dim": dim, "stage": stage, "delta": delta, **{key: average(own, key) for key in ("relative", "recovered")}}
            )
    return found


def task_rows(rows: Sequence[Row]) -> list[Row]:
    """For every unseen task and d: scores of each stage and both measures of optimization and transfer, over deltas and seeds."""
    found = []
    for task, dim in _unique((row["task"], row["dim"]) for row in rows if row["stage"] == "optimized"):
        row: Row = {"task": task, "dim": dim}
        for stage in ("zero_shot", "independent", "optimized", "transferred"):
            own = [r for r in rows if r["task"] == task and r["stage"] == stage and r["dim"] in (None, dim)]
            row[stage] = average(own, "score")
            if stage in ("optimized", "transferred"):
                row |= {f"{stage}_{key}": average(own, key) for key in ("relative", "recovered")}
        found.append(row)
    return found


def region_rows(landscapes: Mapping[str, Landscape], threshold: float = DEFAULT_THRESHOLD) -> list[Row]:
    """Of every landscape: the shares of each delta's region, of the common one, of its largest part and of the union."""
    found = []
    for name, own in landscapes.items():
        [region] = regions(own, [threshold])
        for key, share in region.shares.items():
            of = {"union": "common region, of the union", "common": "common region", "largest": "its largest connected part"}.get(
                key, key
            )
            row = {
                "landscape": name,
                "threshold": threshold,
                "region": of,
                "share": share.value,
                "low": share.low,
                "high": share.high,
            }
            found.append(row | {"best": region.best.get(key)})
    return found


def region_table(name: str, landscape: Landscape, threshold: float) -> Table:
    """The regions of a landscape: shares of the slice with their intervals."""
    sampled = f"{landscape.task}, {landscape.examples} {landscape.split} examples"
    about = f"{sampled}, regions at {threshold:g} % of each delta's best"
    table = Table(title=f"{name}\n{about}", title_justify="left", min_width=min(100, max(len(name), len(about))))
    for title in ("region", "best", "share of the slice", "95 % interval"):
        table.add_column(title, justify="left" if title == "region" else "right")
    for row in region_rows({name: landscape}, threshold):
        best = "" if row["best"] is None else f"{row['best']:.1f}"
        table.add_row(row["region"], best, f"{row['share']:.1f} %", f"{row['low']:.1f} – {row['high']:.1f}")
    return table
