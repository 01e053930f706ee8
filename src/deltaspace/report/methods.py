"""The tables of methods, from the registries: `python -m deltaspace.report.methods docs/methods.md` writes them into a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from deltaspace.storage import write_text


def method_tables() -> str:
    """All deltas, projections, rivals and metrics as Markdown tables, with the paper of each method."""
    from deltaspace.deltas import DELTAS
    from deltaspace.rivals import RIVALS
    from deltaspace.subspace import PROJECTIONS
    from deltaspace.tasks import METRICS

    deltas = [[_code(name), _first_line(delta.__doc__), f"<{delta.source}>"] for name, delta in DELTAS.items()]
    projections = [
        [
            _code(name),
            method.summary,
            *("yes" if flag else "no" for flag in (method.trained, method.shared, method.needs_solutions)),
            f"<{method.source}>",
        ]
        for name, method in PROJECTIONS.items()
    ]
    rivals = [
        [
            _code(name),
            rival.summary,
            "the optimization's" if rival.lr is None else f"{rival.lr:g}",
            f"<{rival.source}>",
        ]
        for name, rival in RIVALS.items()
    ]
    metrics = [[_code(name), _first_line(type(metric).__doc__)] for name, metric in METRICS.items()]
    return "\n\n".join(
        [
            _table(["delta", "what it is", "source"], deltas),
            _table(["projection", "what it is", "trained", "shared codes", "needs solutions", "source"], projections),
            _table(["rival", "what it is", "learning rate", "source"], rivals),
            _table(["metric", "what it is"], metrics),
        ]
    )


def put_into(page: str) -> str:
    """The page with the tables between its two marks."""
    return re.sub(
        r"(<!-- methods -->\n).*(\n<!-- /methods -->)", lambda marks: marks[1] + method_tables() + marks[2], page, flags=re.DOTALL
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(name: str) -> str:
    return f"`{name}`"


def _first_line(text: str | None) -> str:
    return (text or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_text(path, put_into(path.read_text(encoding="utf-8")))
