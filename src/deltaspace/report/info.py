"""What is in a subspace, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from deltaspace.names import counted
from deltaspace.report.kept import kept_table
from deltaspace.subspace.folder import kept_in


def info_tables(described: Mapping[str, Any]) -> list[Table]:
    """What `deltaspace.subspace.folder.describe` says, as tables."""
    model = described["model"] or "an unnamed model"
    title = f"{counted(described['dim'], 'dimension')} of {model} ({described['model_fingerprint'][:12]})"
    deltas = Table(title=title, title_justify="left", min_width=len(title))
    for heading in ("delta", "parameters", "map", "length of a displacement"):
        deltas.add_column(heading, justify="left" if heading in ("delta", "map") else "right")
    for name, delta in described["deltas"].items():
        deltas.add_row(name, f"{delta['parameters']:,}", delta["map"], f"{delta['scale']:.3g}")
    sources, vectors = described["source_tasks"], described["tasks"]
    tasks = Table(title=f"{counted(len(sources), 'source task')}, {counted(len(vectors), 'vector')}", title_justify="left")
    tasks.add_column("task")
    tasks.add_column("vectors found through")
    for task in sources:
        tasks.add_row(task, "(source)")
    for task in dict.fromkeys(vector["task"] for vector in vectors):
        tasks.add_row(task, ", ".join(vector["delta"] for vector in vectors if vector["task"] == task))
    kept = kept_in(described, "what is described")
    return [deltas, tasks, *([kept_table(kept)] if kept else [])]
