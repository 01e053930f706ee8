"""Tables like the paper's: optimization per delta (its Table 1) and transfer per pair of deltas (its Table 2).

A stage that is not known here, such as one of another package, has a table of its scores.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from rich.table import Table

from deltaspace.averages import Measure, average, difference_over_tasks, over_seeds
from deltaspace.names import counted
from deltaspace.study import STAGES, DisagreementRow, MissedRow, ScoreRow, SweepRow, VectorRadius

Key = TypeVar("Key", bound=Hashable)

_INITIAL = {"adapter": "A", "lora": "L", "prefix": "P"}
# More pairs of deltas than these fit 100 columns as a matrix only.
_PAIRS = 6
_TUNED = ("optimized", "transferred")
_CONTROLS = ("mean_code", "in_span")
_KNOWN = ("zero_shot", "independent", "reconstructed", *_TUNED, "translated", *_CONTROLS, "rivals")
_HEADINGS = {
    "optimized": "Subspace optimization",
    "transferred": "Subspace transfer",
    "translated": "Translation (tuned without labels)",
}
_MEASURES: tuple[Measure, ...] = ("relative", "recovered")
# Columns of a sweep's tables.
_SWEPT = {
    "optimized": "optimization",
    "transferred": "transfer",
    "translated": "translation",
    "mean_code": "mean code",
    "in_span": "in span",
}


def tables(rows: Sequence[ScoreRow]) -> list[Table]:
    """The tables of a study: scores, then for every d optimization, transfer and rivals, then every other stage.

    Means have their spread over seeds: mean ± standard deviation.
    """
    shown = [_scores(rows)]
    for dim in sorted({row.dim for row in rows if row.dim is not None}):
        for stage in (*_TUNED, "translated"):
            part = [row for row in rows if row.dim == dim and row.stage == stage]
            title = f"{_HEADINGS[stage]}, d = {dim}: relative performance|recovered gain (%)"
            if len({(row.source_delta, row.delta) for row in part}) > _PAIRS:
                shown.append(_matrix(part, f"{title}, all tasks"))
            elif part:
                shown.append(_pairs(part, title))
        if any(row.dim == dim and row.stage in _CONTROLS for row in rows):
            shown.append(_controls([row for row in rows if row.dim == dim], dim))
        if any(row.dim == dim and row.stage == "rivals" for row in rows):
            shown.append(_rivals(rows, dim))
    others = _unique(row.stage for row in rows if row.stage not in _KNOWN)
    return shown + [_stage(stage, [row for row in rows if row.stage == stage]) for stage in others]


def disagreement_table(rows: Sequence[DisagreementRow], radii: Sequence[VectorRadius]) -> Table:
    """How far each pair of deltas disagrees at each radius around the source tasks' codes, mean ± spread over seeds."""
    measured = sorted({row.radius for row in rows})
    title = "Disagreement of the deltas' functions, by distance from the source tasks' codes"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("d", justify="right")
    table.add_column("deltas")
    for radius in measured:
        table.add_column(f"{radius:g}", justify="right")
    for key in _unique((row.dim, row.first, row.second) for row in rows):
        part = [row for row in rows if (row.dim, row.first, row.second) == key]
        cells = [spread([row.disagreement for row in part if row.radius == radius], digits=2) for radius in measured]
        table.add_row(str(key[0]), f"{_INITIAL.get(key[1], key[1])}, {_INITIAL.get(key[2], key[2])}", *cells)
    if radii:
        distances = [vector.radius for vector in radii]
        table.caption = (
            f"tuned vectors lie at {min(distances):.2f} to {max(distances):.2f}, median {statistics.median(distances):.2f}; "
            "0: the same function, 1: nothing in common"
        )
        table.caption_justify = "left"
    return table


def missed_table(rows: Sequence[MissedRow]) -> Table:
    """What translation misses for each pair of deltas, on held-out inputs: means over tasks and seeds."""
    title = "What translation misses of the followed delta's change, held-out inputs (%)"
    table = Table(title=title, title_justify="left", min_width=len(title))
    for heading in ("d", "from → to", "vectors", "transferred", "translated", "begun at the mean code"):
        table.add_column(heading, justify="left" if heading == "from → to" else "right")
    for dim, source, delta in _unique((row.dim, row.source_delta, row.delta) for row in rows):
        part = [row for row in rows if (row.dim, row.source_delta, row.delta) == (dim, source, delta)]
        means = (100 * statistics.fmean(values) for values in ([row.before for row in part], [row.after for row in part]))
        begun = sum(row.start == "mean" for row in part)
        table.add_row(str(dim), f"{source} → {delta}", str(len(part)), *(f"{mean:.0f}" for mean in means), str(begun))
    table.caption = "0: the same answers, 100: as far from them as the untuned model's"
    table.caption_justify = "left"
    return table


def sweep_tables(rows: Sequence[SweepRow]) -> list[Table]:
    """A sweep's points, one a line: relative performance and recovered gain, mean ± spread over seeds, of the stages that tune or
    decode a vector; then of transfer beside its controls, where these were scored.
    """
    shown = [_sweep(rows, (*_TUNED, "translated"), "Sweep: averages over the unseen tasks")]
    if any(row.stage in _CONTROLS for row in rows):
        shown.append(_sweep(rows, ("transferred", *_CONTROLS), "Sweep: transfer and its controls"))
    return shown


def _sweep(rows: Sequence[SweepRow], wanted: Sequence[str], title: str) -> Table:
    table = Table(title=f"{title}, relative performance|recovered gain (%)", title_justify="left")
    left_out = any(row.left_out for row in rows)
    stages = [stage for stage in wanted if any(row.stage == stage for row in rows)]
    # Three spreads with decimals do not fit 100 columns.
    digits = 1 if len(stages) < 3 or len(_unique(row.seed for row in rows)) < 2 else 0
    for heading in (
        "projection",
        "tasks",
        "deltas",
        "d",
        *(["left out"] if left_out else []),
        "seeds",
        *(_SWEPT[stage] for stage in stages),
    ):
        table.add_column(heading, justify="left" if heading in ("projection", "left out") else "right")

    def add(label: list[str], part: Sequence[SweepRow]) -> None:
        cells = []
        for stage in stages:
            scored = [row for row in part if row.stage == stage]
            cells.append("|".join(spread(over_seeds(scored, measure), digits) for measure in _MEASURES))
        table.add_row(*label, str(len(_unique(row.seed for row in part))), *cells)

    for point in _unique(_point(row) for row in rows):
        label, part = list(map(str, point)), [row for row in rows if _point(row) == point]
        tasks = _unique(row.left_out for row in part)
        for task in tasks:
            add([*label, task or "–"] if left_out else label, [row for row in part if row.left_out == task])
        if len(tasks) > 1:
            add([*label, f"mean of {len(tasks)}"], part)
    return table


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean, with the standard deviation where there are several."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean}±{statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _point(row: SweepRow) -> tuple[str, int, int, int | None]:
    """What tells a sweep's points apart."""
    return row.projection, row.source_tasks, row.deltas, row.dim


def _scores(rows: Sequence[ScoreRow]) -> Table:
    part = [row for row in rows if row.stage in ("zero_shot", "independent")]
    deltas = _unique(row.delta for row in part)
    table = Table(title="Scores on test: zero-shot → independent", title_justify="left")
    for heading in ("task", "metric", "n", *deltas):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for task in _unique(row.task for row in part):
        of_task = [row for row in part if row.task == task]
        cells = []
        for delta in deltas:
            of_delta = [row for row in of_task if row.delta == delta]
            before, after = ([row.score for row in of_delta if row.stage == stage] for stage in ("zero_shot", "independent"))
            cells.append(f"{spread(before)} → {spread(after)}")
        table.add_row(task, of_task[0].metric, str(of_task[0].n_test), *cells)
    return table


def _pairs(rows: Sequence[ScoreRow], title: str) -> Table:
    """A line for each task, a column for each delta, or each pair of deltas."""
    pairs = _unique((row.source_delta or "", row.delta) for row in rows)
    # Six pairs leave no room for decimals in 100 columns.
    digits = 1 if len(pairs) < 4 else 0
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    for source, delta in pairs:
        heading = delta if source == delta else f"{_INITIAL.get(source, source)}→{_INITIAL.get(delta, delta)}"
        table.add_column(heading, justify="right")
    table.add_column("average", justify="right", style="bold")
    for task in _unique(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        cells = [_cell((row for row in of_task if (row.source_delta, row.delta) == pair), digits) for pair in pairs]
        table.add_row(task, *cells, _cell(of_task))
    table.add_section()
    averages = [_cell((row for row in rows if (row.source_delta, row.delta) == pair), digits) for pair in pairs]
    table.add_row("average", *averages, _cell(rows), style="bold")
    return _captioned(table, title, rows)


def _matrix(rows: Sequence[ScoreRow], title: str) -> Table:
    """Averages over all tasks for every pair of deltas: from a line's delta to a column's."""
    deltas = _unique(row.delta for row in rows)
    table = Table(title=title, title_justify="left")
    table.add_column("from ↓ to →")
    for heading in (*deltas, "average"):
        table.add_column(heading, justify="right")
    for source in _unique(row.source_delta or "" for row in rows):
        part = [row for row in rows if row.source_delta == source]
        cells = [_cell([row for row in part if row.delta == delta], 0) for delta in deltas]
        table.add_row(source, *cells, _cell(part))
    table.add_section()
    averages = [_cell([row for row in rows if row.delta == delta], 0) for delta in deltas]
    table.add_row("average", *averages, _cell(rows), style="bold")
    return _captioned(table, title, rows)


def _controls(rows: Sequence[ScoreRow], dim: int) -> Table:
    """Transfer beside what it must be better than: averages over the unseen tasks and all deltas or pairs."""
    title = f"Transfer and its controls, d = {dim}: averages over the unseen tasks"
    table = Table(title=title, title_justify="left", min_width=len(title))
    for heading in ("way", "numbers", "score", "relative %", "recovered %", "transfer is ahead by"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    transferred = [row for row in rows if row.stage == "transferred"]
    for stage in (*_TUNED, "translated", *_CONTROLS):
        if part := [row for row in rows if row.stage == stage]:
            ahead = "" if stage == "transferred" else _ahead(transferred, part)
            table.add_row(STAGES[stage].title, *_measured(part), ahead)
    table.caption = "ahead: in relative %, with a 95 % interval over tasks (bootstrap)"
    table.caption_justify = "left"
    return table


def _ahead(rows: Sequence[ScoreRow], others: Sequence[ScoreRow]) -> str:
    difference = difference_over_tasks(rows, others, "relative")
    return "–" if difference is None else f"{difference.value:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})"


def _rivals(rows: Sequence[ScoreRow], dim: int) -> Table:
    """The subspace beside its rivals, the untuned model and the full deltas: averages over the unseen tasks."""
    tuned = [row for row in rows if row.dim == dim]
    unseen = {row.task for row in tuned}
    ways: dict[str, list[ScoreRow]] = {}
    for stage, name in (("zero_shot", "zero-shot"), ("independent", "full delta")):
        ways[name] = [row for row in rows if row.stage == stage and row.task in unseen]
    ways["subspace"] = [row for row in tuned if row.stage == "optimized"]
    for row in tuned:
        if row.stage == "rivals" and row.rival is not None:
            ways.setdefault(row.rival, []).append(row)
    table = Table(title=f"Ways of tuning about {counted(dim, 'number')}: averages over the unseen tasks", title_justify="left")
    for heading in ("way", "delta", "numbers", "score", "relative %", "recovered %"):
        table.add_column(heading, justify="left" if heading in ("way", "delta") else "right")
    for name, part in ways.items():
        deltas = _unique(row.delta for row in part)
        for delta in deltas:
            table.add_row(name, delta, *_measured([row for row in part if row.delta == delta]))
        if len(deltas) > 1:
            table.add_row(name, "average", *_measured(part), style="bold")
    return table


def _stage(stage: str, rows: Sequence[ScoreRow]) -> Table:
    """All scores of a stage, mean ± spread over seeds; of pairs of deltas, where vectors were found through others."""
    name = STAGES[stage].title if stage in STAGES else stage
    table = Table(title=f"{name[:1].upper()}{name[1:]}", title_justify="left")
    lefts = ("task", "delta", "found through")
    for heading in (*lefts, "d", "numbers", "score", "relative %", "recovered %"):
        table.add_column(heading, justify="left" if heading in lefts else "right")
    keys = _unique((row.task, row.delta, row.source_delta, row.dim) for row in rows)
    for key in keys:
        part = [row for row in rows if (row.task, row.delta, row.source_delta, row.dim) == key]
        table.add_row(*("–" if value is None else str(value) for value in key), *_measured(part))
    return table


def _measured(rows: Sequence[ScoreRow]) -> list[str]:
    """How many numbers were tuned, the score and both measures."""
    cells = [f"{statistics.fmean(row.tuned for row in rows):g}"]
    measures: tuple[Measure, ...] = ("score", *_MEASURES)
    return cells + [spread(over_seeds(rows, measure)) for measure in measures]


def _captioned(table: Table, title: str, rows: Sequence[ScoreRow]) -> Table:
    """The table with its averages over seeds below, wide enough for that and its title."""
    caption = _over_seeds(rows)
    if caption:
        table.caption, table.caption_justify = caption, "left"
    table.min_width = max(len(title), len(caption or ""))
    return table


def _over_seeds(rows: Sequence[ScoreRow]) -> str | None:
    """The averages over tasks and deltas as mean ± standard deviation over seeds; None for a single seed."""
    seeds = _unique(row.seed for row in rows)
    if len(seeds) < 2:
        return None
    means = "|".join(spread(over_seeds(rows, measure)) for measure in _MEASURES)
    return f"average, mean ± standard deviation over {len(seeds)} seeds: {means}"


def _cell(rows: Iterable[ScoreRow], digits: int = 1) -> str:
    listed = list(rows)
    means = [average(listed, measure) for measure in _MEASURES]
    return "|".join("–" if mean is None else f"{mean:.{digits}f}" for mean in means)


def _unique(values: Iterable[Key]) -> list[Key]:
    return list(dict.fromkeys(values))
