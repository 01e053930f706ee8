"""`python -m benchmarks.report`: how long a large study's report takes to open, against an empty page of the same size.

The study has 30 unseen tasks, 5 deltas and 4 landscapes (25 x 25 cells, 200 examples), with made-up numbers: a report does not
ask where they are from. Both pages are opened in Chromium in turn, in a new context each time; the time is that of `goto` until
the load event has ended, and the value is the ratio of medians. The empty page is a comment as long as the report.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from playwright.sync_api import sync_playwright
from torch import Tensor

from benchmarks.measuring import conditions, medians
from deltaspace.landscape import Grid, Landscape, Mark, Slice
from deltaspace.report import write_report
from deltaspace.storage import digest, write_json, write_text
from deltaspace.study import STAGES, ScoreRow
from deltaspace.study.folder import Folder
from deltaspace.subspace import Entry, Plm, Subspace
from deltaspace.subspace.maps.linear import Linear

RESULTS = Path(__file__).parent / "results" / "report.json"
TASKS, DIM, CELLS, ROUNDS = 30, 100, 25, 15
DELTAS = ("adapter", "lora", "prefix", "ia3", "finetune")


def made_up_study(folder: Path, tasks: int = TASKS, dim: int = DIM, cells: int = CELLS) -> Path:
    """A study's folder with rows, curves, a subspace with vectors, and landscapes."""
    draws = np.random.default_rng(0)
    sources, unseen = [f"source-{i}" for i in range(tasks)], [f"task-{i}" for i in range(tasks)]
    recipe = {
        "model": "made-up",
        "deltas": [{"peft": "IA3", "name": name} if name == "ia3" else name for name in DELTAS],
        "tasks": {"source": sources, "unseen": unseen},
        "dim": [dim],
    }
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))
    for task, delta in itertools.product(sources + unseen, DELTAS):
        write_scores(folder, task, delta, task in unseen, dim, draws)
    entries = {name: Entry(torch.zeros(4), Linear(torch.ones(4), torch.zeros(dim, 4))) for name in DELTAS}
    codes = torch.from_numpy(draws.normal(size=(len(DELTAS), tasks, dim))).float()
    subspace = Subspace(dim, Plm("made-up", "made up", "sentence_encoder"), entries, tuple(sources), codes)
    tensors, metadata = subspace.pack()
    write_artefact(folder, "subspace", {"dim": dim, "seed": 0}, tensors, **metadata)
    for number in range(4):
        tensors, metadata = landscape(number, dim, cells, draws).pack()
        write_artefact(folder, "landscapes", {"name": f"slice-{number}"}, tensors, **metadata)
    return folder


def write_artefact(folder: Path, stage: str, key: dict[str, Any], tensors: dict[str, Tensor], **said: Any) -> None:
    """An artefact where its key belongs; of what it was made from a report does not ask."""
    metadata = {**said, "stage": stage, "key": key, "fingerprint": digest("made up"), "made_from": {}}
    Folder(folder).write(STAGES[stage].path_of(key), tensors, metadata)


def write_scores(folder: Path, task: str, delta: str, unseen: bool, dim: int, draws: np.random.Generator) -> None:
    """Everything that a study keeps of a task and a delta: scores, curves and, of an unseen task, a vector and its transfers."""

    def scored(stage: str, key: dict[str, Any], score: float, tensors: dict[str, Tensor], **said: Any) -> None:
        source = key.get("source") or (delta if stage == "optimized" else None)
        at = key.get("dim")
        row = ScoreRow(stage, task, key["delta"], 0, "accuracy", float(score), 500, source, at, None, at or 0, 60.123, 400)
        write_artefact(folder, stage, {**key, "task": task, "seed": 0}, tensors, row=row.stored(), **said)

    zero, best = 50 + 10 * draws.random(), 80 + 15 * draws.random()
    curve = [[step, float(best - 30 / (1 + step / 50)), float(1 / (1 + step))] for step in range(0, 401, 50)]
    scored("zero_shot", {"delta": delta}, zero, {})
    scored("independent", {"delta": delta}, best, {"vector": torch.zeros(1)}, curve=curve)
    if not unseen:
        return
    drawn = torch.from_numpy(draws.normal(size=dim)).float()
    scored("optimized", {"dim": dim, "delta": delta}, best - 5 * draws.random(), {"vector": drawn}, curve=curve)
    for other in DELTAS:
        if other != delta:
            scored("transferred", {"dim": dim, "source": delta, "delta": other}, best - 20 * draws.random(), {})


def landscape(number: int, dim: int, cells: int, draws: np.random.Generator) -> Landscape:
    """Smooth hills, one for each delta."""
    slice_ = Slice(torch.zeros(dim), torch.eye(2, dim), (Grid(-1.0, 1.0, cells),) * 2, ("horizontal", "vertical"))
    x, y = (part.numpy().reshape(cells, cells) for part in slice_.coordinates().T)
    predictions, losses = [], []
    for _ in DELTAS:
        hill = np.exp(-((x - draws.normal() / 3) ** 2) - (y - draws.normal() / 3) ** 2)
        right = draws.random(200) < 0.6 + 0.3 * hill[..., None]
        predictions.append(np.where(right, 0, 1))
        losses.append(1 - hill)
    return Landscape(
        slice_,
        DELTAS,
        f"task-{number}",
        "test",
        "accuracy",
        targets=["yes"] * 200,
        answers=["yes", "no"],
        predictions=np.array(predictions, dtype=np.int32),
        losses=np.array(losses, dtype=np.float32),
        marks={name: Mark(tuple(draws.normal(size=2).tolist()), 0.1) for name in DELTAS},
        trajectories={name: np.cumsum(draws.normal(size=(80, 2)) / 50, 0).tolist() for name in DELTAS},
    )


def main() -> None:
    """Measure, print and write `results/report.json`."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        study = made_up_study(Path(folder) / "study")
        started = time.perf_counter()
        report = write_report(study)
        writing = time.perf_counter() - started
        size = report.stat().st_size
        empty = Path(folder) / "empty.html"
        frame = "<!doctype html><title>empty</title><!--{}-->"
        empty.write_text(frame.format("x" * (size - len(frame) + 2)))
        installed = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
        browser = driver.chromium.launch(executable_path=next(installed, None), args=["--no-sandbox"])

        def seconds_to_open(path: Path) -> float:
            context = browser.new_context()
            page = context.new_page()
            begun = time.perf_counter()
            page.goto(path.as_uri(), wait_until="load")
            seconds = time.perf_counter() - begun
            context.close()
            return seconds

        seconds = medians({"report": report, "empty": empty}, ROUNDS, seconds_to_open)
        browser.close()
    result = {
        "megabytes": round(size / 1e6, 2),
        "milliseconds": {name: round(1000 * value, 1) for name, value in seconds.items()},
        "report / empty": round(seconds["report"] / seconds["empty"], 2),
        "seconds to write": round(writing, 1),
    }
    print(json.dumps(result, indent=1))
    write_json(RESULTS, {**conditions(), **result})


if __name__ == "__main__":
    main()
