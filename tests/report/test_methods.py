"""The page of methods is what the registries say."""

from __future__ import annotations

from pathlib import Path

from deltaspace.deltas import DELTAS
from deltaspace.report.methods import method_tables, put_into
from deltaspace.rivals import RIVALS
from deltaspace.subspace import PROJECTIONS
from deltaspace.tasks import METRICS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_page_is_what_the_code_says():
    """If this fails: make docs."""
    text = PAGE.read_text(encoding="utf-8")
    assert put_into(text) == text
    assert method_tables() in text


def test_every_method_has_its_row_and_its_paper():
    lines = method_tables().splitlines()
    for registry in (DELTAS, PROJECTIONS, RIVALS):
        for name, method in registry.items():
            assert any(line.startswith(f"| `{name}` |") and f"<{method.source}>" in line for line in lines), name
    for name in METRICS:
        assert any(line.startswith(f"| `{name}` |") for line in lines), name
