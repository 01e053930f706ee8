"""What is kept of solutions, as a table of at most 80 columns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.table import Table

from deltaspace.checkpoints.compress import Compressed
from deltaspace.subspace.kept import Kept

# Longer names are broken, so that the table stays within 80 columns.
_TASK, _DELTA = 14, 8


def kept_table(kept: Sequence[Kept]) -> Table:
    """One line for each solution and what keeps it, an import or d dimensions; means over seeds."""
    table = Table(title="What is kept of each solution", title_justify="left")
    table.add_column("task", overflow="fold", max_width=_TASK)
    table.add_column("delta", overflow="fold", max_width=_DELTA)
    for heading in ("kept by", "error %", "disagreement", "score"):
        table.add_column(heading, justify="left" if heading == "kept by" else "right")

    def key(row: Kept) -> tuple[int, str, str]:
        return row.dim or 0, row.task, row.delta

    order = {name: position for position, name in enumerate(dict.fromkeys(row.task for row in kept))}
    for (dim, task, delta), grouped in groupby(sorted(kept, key=lambda row: (row.dim or 0, order[row.task], row.delta)), key):
        rows = list(grouped)
        before, after = (statistics.fmean(values) for values in zip(*((row.before, row.after) for row in rows), strict=True))
        error = 100 * statistics.fmean(row.parameter_error for row in rows)
        disagreement = statistics.fmean(row.disagreement for row in rows)
        table.add_row(
            task, delta, f"d = {dim}" if dim else "import", f"{error:.1f}", f"{disagreement:.3f}", f"{before:.1f} → {after:.1f}"
        )
    seeds = len({row.seed for row in kept})
    table.caption = (
        "error: length of the parameters lost (d: of the displacement); disagreement on test inputs: "
        "0 is the same function, 1 has nothing in common; score on test: as it was → as it is kept"
        + (f"; means over {seeds} seeds" if seeds > 1 else "")
    )
    table.caption_justify = "left"
    return table


def exported_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Each checkpoint of many with its folder, and with what the space lost of it."""
    table = Table(title="Checkpoints", title_justify="left")
    table.add_column("task", overflow="fold")
    table.add_column("folder", overflow="fold")
    table.add_column("error %", justify="right")
    table.add_column("")
    for row in rows:
        error = row["parameter_error"]
        shown = f"{100 * error:.2f}" if isinstance(error, float) else "not measured"
        table.add_row(str(row["task"]), str(row["folder"]), shown, "written" if row["written"] else "was there")
    table.caption, table.caption_justify = (
        "error: length of what the space lost, relative to the parameters' displacement",
        "left",
    )
    return table


def compressed_table(rows: Sequence[Compressed]) -> Table:
    """Each checkpoint that was compressed, with what is lost of it."""
    table = Table(title="What is lost of each checkpoint", title_justify="left")
    table.add_column("task", overflow="fold")
    table.add_column("checkpoint", overflow="fold")
    table.add_column("error %", justify="right")
    for row in rows:
        table.add_row(row.task, row.source, f"{100 * row.parameter_error:.2f}")
    table.caption, table.caption_justify = "error: length of what is lost, relative to the parameters' displacement", "left"
    return table
