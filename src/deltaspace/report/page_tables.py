"""The tables of the report's page, as its script takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from deltaspace.averages import average_rows, task_rows
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import Results
from deltaspace.report.regions import region_rows
from deltaspace.study import STAGES, Answer, RunRecord, read_history

_LABELS = {"dim": "d", "n_test": "n"}
_AVERAGES = {"relative": "relative %", "recovered": "recovered %"}
_TASKS = {
    "zero_shot": "zero-shot",
    "optimized_relative": "optimized rel. %",
    "optimized_recovered": "optimized rec. %",
    "transferred_relative": "transferred rel. %",
    "transferred_recovered": "transferred rec. %",
}
_MISSED = {"source_delta": "found through", "before": "transferred", "after": "translated"}
_REGIONS = {"share": "share %", "low": "from", "high": "to"}


def page_tables(results: Results) -> list[dict[str, Any]]:
    """Id, title, section, columns and rows of each table; `rows` has no rows, as they are all scores of the page's data."""
    scores = [asdict(row) for row in results.scores]
    averages = [asdict(row) for row in average_rows(results.scores)]
    tasks = [asdict(row) for row in task_rows(results.scores)]
    tables = [
        _table("averages", "Averages over the unseen tasks", averages, _AVERAGES) | {"rows": averages},
        _table("tasks", "Unseen tasks, averages over deltas and seeds", tasks, _TASKS) | {"rows": tasks},
    ]
    if results.disagreements:
        disagreements = [asdict(row) for row in results.disagreements]
        title = "Disagreement of the deltas' functions, by distance from the source tasks' codes"
        tables.append(_table("disagreement", title, disagreements, {}) | {"rows": disagreements})
    if results.missed:
        missed = [asdict(row) for row in results.missed]
        title = "What translation misses of the followed delta's change, as a share, on held-out inputs"
        tables.append(_table("missed", title, missed, _MISSED) | {"rows": missed})
    if results.landscapes:
        regions = [asdict(row) for row in region_rows(results.landscapes)]
        title = "Common regions, 95 % intervals over the examples"
        tables.append(_table("regions", title, regions, _REGIONS) | {"rows": regions})
    if results.answers:
        answers = _answers(results.answers)
        tables.append(_table("answers", "Some written answers, of the first test examples", answers, {}) | {"rows": answers})
    tables.append(_table("rows", "Every score", scores, {}))
    try:
        runs = [_run(record) for record in read_history(results.folder)]
    except DeltaspaceError as error:  # finished work is shown all the same
        runs = [{"damaged": f"what ran where cannot be read: {error.found}"}]
    if runs:
        tables.append(_table("runs", "What ran where", runs, {}) | {"rows": runs})
    for table in tables:
        table["section"] = "scores" if table["id"] in ("averages", "tasks") else "tables"
    return tables


def _table(name: str, title: str, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, Any]:
    """A table without its rows; a column where every row is empty is left out."""
    columns = []
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if row.get(key) is not None]
        if values:
            number = all(isinstance(value, int | float) for value in values)
            label = labels.get(key, _LABELS.get(key, key.replace("_", " ")))
            columns.append({"key": key, "label": label, "number": number})
    return {"id": name, "title": title, "columns": columns}


def _answers(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """A row for each example and delta: what it was to write, and what it wrote at every stage; unseen tasks first."""
    titles = {name: stage.title for name, stage in STAGES.items()}
    unseen = {answer.task for answer in answers if answer.dim is not None}
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for answer in sorted(answers, key=lambda answer: answer.task not in unseen):
        example = (answer.task, answer.input, answer.reference, answer.delta, answer.seed)
        row = rows.setdefault(
            example,
            {
                "task": answer.task,
                "delta": answer.delta,
                "seed": answer.seed,
                "input": answer.input,
                "reference": answer.reference,
            },
        )
        way = titles[answer.stage] + ("" if answer.source_delta in (None, answer.delta) else f" from {answer.source_delta}")
        row.setdefault(way, answer.text)
    return list(rows.values())


def _run(record: RunRecord) -> dict[str, Any]:
    machine = record.machine
    accelerator = machine.get("accelerator") or "no GPU"
    # Earlier runs did not say it.
    precision = f", {machine['precision']}" if "precision" in machine else ""
    return {
        "started": record.started.replace("T", " ").replace("+00:00", " UTC"),
        "made": ", ".join(f"{stage}: {count}" for stage, count in record.artefacts.items()),
        "seconds": round(sum(record.seconds.values()), 1),
        "ended": record.ended,
        "machine": f"{machine.get('processor')}, {machine.get('cores')} cores, {accelerator}, {machine.get('system')}{precision}",
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items())
        + f", Python {machine.get('python')}",
    }
