"""The page of methods is what the registries say."""

from __future__ import annotations

from pathlib import Path

from deltaspace.deltas import DELTAS
from deltaspace.report.methods import put_into, table
from deltaspace.subspace import PROJECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_page_is_what_the_code_says():
    """If this fails: make docs."""
    text = PAGE.read_text(encoding="utf-8")
    assert put_into(text) == text
    assert table() in text


def test_every_method_has_its_row_and_its_paper():
    for name, method in {**DELTAS, **PROJECTIONS}.items():
        [row] = [line for line in table().splitlines() if line.startswith(f"| `{name}` |")]
        assert f"<{method.source}>" in row
