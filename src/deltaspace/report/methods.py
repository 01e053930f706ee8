"""The table of methods, from the registries: `python -m deltaspace.report.methods docs/methods.md` writes it into a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from deltaspace.storage import write_text


def table() -> str:
    """All deltas, projections and rivals as Markdown tables, with the paper of each."""
    from deltaspace.deltas import DELTAS
    from deltaspace.rivals import RIVALS
    from deltaspace.subspace import PROJECTIONS

    lines = ["| delta | what it is | source |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {_first_line(delta.__doc__)} | <{delta.source}> |" for name, delta in DELTAS.items()]
    lines += ["", "| projection | what it is | trained | shared codes | needs solutions | source |", "| --- " * 6 + "|"]
    for name, method in PROJECTIONS.items():
        flags = " | ".join("yes" if flag else "no" for flag in (method.learned, method.shared, method.needs_solutions))
        lines.append(f"| `{name}` | {method.summary} | {flags} | <{method.source}> |")
    lines += ["", "| rival | what it is | learning rate | source |", "| --- | --- | --- | --- |"]
    for name, rival in RIVALS.items():
        rate = "the optimization's" if rival.lr is None else f"{rival.lr:g}"
        lines.append(f"| `{name}` | {rival.summary} | {rate} | <{rival.source}> |")
    return "\n".join(lines)


def _first_line(text: str | None) -> str:
    return (text or "").splitlines()[0].rstrip(".")


def put_into(page: str) -> str:
    """The page with the tables between its two marks."""
    return re.sub(r"(<!-- methods -->\n).*(\n<!-- /methods -->)", lambda m: m[1] + table() + m[2], page, flags=re.DOTALL)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_text(path, put_into(path.read_text(encoding="utf-8")))
