"""The notebooks run from their first cell to their last, and draw."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_every_notebook_runs(path, study, monkeypatch):
    monkeypatch.setenv("STUDY", str(study))
    book = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "outputs are not kept"
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    drawn = [cell for cell in book.cells if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))]
    assert len(drawn) == 8
