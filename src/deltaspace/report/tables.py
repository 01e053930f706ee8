"""Tables like the paper's: optimization per delta (its Table 1) and transfer per pair of deltas (its Table 2)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from rich.table import Table

from deltaspace.study.folder import Row

_INITIAL = {"adapter": "A", "lora": "L", "prefix": "P"}


def tables(rows: Sequence[Row]) -> list[Table]:
    """The tables of a study's rows: scores, then for every d optimization and transfer; mean ± spread over seeds."""
    dims = sorted({row["dim"] for row in rows if row["dim"] is not None})
    found = [_scores(rows)]
    for dim in dims:
        for stage, title in (("optimized", "optimization"), ("transferred", "transfer")):
            part = [row for row in rows if row["dim"] == dim and row["stage"] == stage]
            if part:
                found.append(_stage(part, f"Subspace {title}, d = {dim}: relative performance|recovered gain (%)"))
    return found


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
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    for source, delta in pairs:
        heading = delta if source == delta else f"{_INITIAL.get(source, source)}→{_INITIAL.get(delta, delta)}"
        table.add_column(heading, justify="right")
    table.add_column("average", justify="right", style="bold")
    for task in _unique(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        cells = [_cell(row for row in own if (row["source_delta"], row["delta"]) == pair) for pair in pairs]
        table.add_row(task, *cells, _cell(own))
    table.add_section()
    averages = [_cell(row for row in rows if (row["source_delta"], row["delta"]) == pair) for pair in pairs]
    table.add_row("average", *averages, _cell(rows), style="bold")
    caption = _over_seeds(rows)
    if caption:
        table.caption, table.caption_justify = caption, "left"
    # Wide enough for its own title and caption.
    table.min_width = max(len(title), len(caption or ""))
    return table


def _over_seeds(rows: Sequence[Row]) -> str | None:
    """The averages over tasks and deltas as mean ± standard deviation over seeds; None for one seed."""
    seeds = _unique(row["seed"] for row in rows)
    if len(seeds) < 2:
        return None
    parts = []
    for key in ("relative", "recovered"):
        values = [average([row for row in rows if row["seed"] == seed], key) for seed in seeds]
        parts.append("–" if None in values else spread([value for value in values if value is not None]))
    return f"average, mean ± standard deviation over {len(seeds)} seeds: {'|'.join(parts)}"


def _cell(rows: Iterable[Row]) -> str:
    own = list(rows)
    relative, recovered = (average(own, key) for key in ("relative", "recovered"))
    return "|".join("–" if value is None else f"{value:.1f}" for value in (relative, recovered))


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
