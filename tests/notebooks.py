"""Runs the notebooks of `examples/`. `python -m tests.notebooks NAME...` writes their outputs anew."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def executed(path: Path, folder: Path, timeout: int = 1500) -> nbformat.NotebookNode:
    """A notebook with its outputs, run from its first cell to its last in `folder`.

    Commands of the environment that runs this are there for its shell cells. What changes from run to run is not kept: what went
    to stderr (progress, warnings of libraries), and when a cell ran.
    """
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with patch.dict(os.environ, {"PATH": paths, "COLUMNS": "110", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}):
        client = NotebookClient(book, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
        client.record_timing = False
        client.execute()
    tidy(book)
    return book


def tidy(book: nbformat.NotebookNode) -> None:
    """Leave of a notebook's outputs what can be read: no stderr, each text in one piece, no codes for a terminal."""
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        outputs = []
        for output in cell.outputs:
            if output.get("name") == "stderr":
                continue
            if output.output_type == "stream" and outputs and outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        for output in outputs:
            if output.output_type == "stream":
                output.text = "".join(line.rstrip() + "\n" for line in re.sub(r"\x1b\[[\d;]*m", "", output.text).splitlines())
        cell.outputs = outputs


def main(names: list[str]) -> None:
    """Write the outputs of notebooks anew."""
    for name in names:
        path = EXAMPLES / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            book = executed(path, Path(folder))
        path.write_text(nbformat.writes(book) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
