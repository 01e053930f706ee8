"""The notebooks run from their first cell to their last, and draw; those that are to be read keep their outputs."""

from __future__ import annotations

import re

import nbformat
import pytest

from tests.notebooks import EXAMPLES, executed

# Run on what a study has, wherever it is; the others bring all they need, and are read with their outputs.
WITHOUT_OUTPUTS = "figures"
READ = sorted(path for path in EXAMPLES.glob("*.ipynb") if path.stem != WITHOUT_OUTPUTS)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell gives: text, pictures, representations."""
    return [sorted(output.get("data", {})) or output.get("name") for output in cell.outputs]


def drawn(book):
    return [cell for cell in code_cells(book) if any("image/png" in output.get("data", {}) for output in cell.outputs)]


def test_the_figures_notebook_runs(study, monkeypatch):
    monkeypatch.setenv("STUDY", str(study))
    path = EXAMPLES / f"{WITHOUT_OUTPUTS}.ipynb"
    assert not any(cell.outputs for cell in code_cells(nbformat.read(path, as_version=4))), "outputs are not kept"
    assert len(drawn(executed(path, EXAMPLES))) == 8


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_a_notebook_has_the_outputs_of_one_run(path):
    """If this fails: python -m tests.notebooks NAME."""
    book = nbformat.read(path, as_version=4)
    cells = code_cells(book)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert cells[-1].outputs and drawn(book)
    assert path.stat().st_size < 300_000
    assert book.cells[0].cell_type == "markdown" and book.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_says_nothing_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.:/])/(home|root|tmp|work|Users|usr|opt|var|mnt)/", text)
    assert "\\u001b" not in text and "site-packages" not in text and "iopub" not in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_a_notebook_runs_and_gives_what_it_shows(path, tmp_path):
    kept, anew = nbformat.read(path, as_version=4), executed(path, tmp_path)
    assert [kinds(cell) for cell in code_cells(anew)] == [kinds(cell) for cell in code_cells(kept)]
