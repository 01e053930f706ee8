"""`python -m benchmarks.report`: how long a large study's report takes to open, against an empty page of the same size.

The study has 30 unseen tasks, 5 deltas and 4 landscapes (25 x 25 cells, 200 examples), with made-up numbers: a report does not
ask where they are from. Both pages are opened in Chromium in turn, in a new context each time; the time is that of `goto` until
the load event has ended, and the value is the ratio of medians. The empty page is a comment as long as the report.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from playwright.sync_api import sync_playwright

from deltaspace.landscape import Grid, Landscape, Slice
from deltaspace.report.page import write_report
from deltaspace.storage import write_json, write_tensors, write_text
from deltaspace.study.history import machine, versions
from deltaspace.subspace import Subspace
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.methods import Projection

RESULTS = Path(__file__).parent / "results" / "report.json"
TASKS, DIM, ROUNDS = 30, 100, 15
DELTAS = ("adapter", "lora", "prefix", "ia3", "finetune")


def made_up_study(folder: Path) -> Path:
    """A study's folder with rows, curves, a subspace with vectors, and landscapes."""
    draws = np.random.default_rng(0)
    sources, unseen = [f"source-{i}" for i in range(TASKS)], [f"task-{i}" for i in range(TASKS)]
    recipe = {
        "model": "made-up",
        "deltas": {name: {} for name in DELTAS},
        "tasks": {"source": sources, "unseen": unseen},
        "dim": [DIM],
    }
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))

    def row(stage, task, delta, source, dim, score):
        own = {"stage": stage, "rival": None, "tuned": dim or 0, "task": task, "delta": delta, "source_delta": source, "seed": 0}
        return own | {"dim": dim, "metric": "accuracy", "score": float(score), "n_test": 500, "seconds": 60.123, "steps": 400}

    for task, delta in itertools.product(sources + unseen, DELTAS):
        zero, best = 50 + 10 * draws.random(), 80 + 15 * draws.random()
        write_json(
            folder / f"scores/zero_shot/{task}-{delta}-0.json",
            {"fingerprint": "f", "row": row("zero_shot", task, delta, None, None, zero)},
        )
        curve = [[step, float(best - 30 / (1 + step / 50)), float(1 / (1 + step))] for step in range(0, 401, 50)]
        own = {"fingerprint": "f", "row": row("independent", task, delta, None, None, best), "curve": curve}
        write_tensors(folder / f"solutions/{delta}/{task}-0.safetensors", {"vector": torch.zeros(1)}, own)
        if task in unseen:
            path = f"vectors/{DIM}/{task}-{delta}-0.safetensors"
            own = {
                "fingerprint": "f",
                "row": row("optimized", task, delta, delta, DIM, best - 5 * draws.random()),
                "curve": curve,
            }
            write_tensors(folder / path, {"vector": torch.from_numpy(draws.normal(size=DIM)).float()}, own)
            for other in DELTAS:
                if other != delta:
                    moved = row("transferred", task, other, delta, DIM, best - 20 * draws.random())
                    write_json(
                        folder / f"scores/transferred/{DIM}/{task}-{delta}-{other}-0.json", {"fingerprint": "f", "row": moved}
                    )
    projections: dict[str, Projection] = {name: Linear(torch.ones(4), torch.zeros(DIM, 4)) for name in DELTAS}
    codes = torch.from_numpy(draws.normal(size=(len(DELTAS), TASKS, DIM))).float()
    space = Subspace(DIM, "f", {name: torch.zeros(4) for name in DELTAS}, projections, tuple(sources), codes, True, {})
    space.save(folder / f"subspace/{DIM}-0.safetensors", {"fingerprint": "f"})
    for number in range(4):
        landscape(number, draws).save(folder / f"landscapes/slice-{number}.safetensors", {"fingerprint": "f", "made_from": {}})
    return folder


def landscape(number: int, draws: np.random.Generator) -> Landscape:
    """Smooth hills, one for each delta."""
    slice_ = Slice(torch.zeros(DIM), torch.eye(2, DIM), (Grid(-1.0, 1.0, 25),) * 2, ("horizontal", "vertical"))
    x, y = (part.numpy().reshape(25, 25) for part in slice_.coordinates().T)
    predictions, losses = [], []
    for _ in DELTAS:
        hill = np.exp(-((x - draws.normal() / 3) ** 2) - (y - draws.normal() / 3) ** 2)
        right = draws.random(200) < 0.6 + 0.3 * hill[..., None]
        predictions.append(np.where(right, 0, 1))
        losses.append(1 - hill)
    own = np.array(predictions, dtype=np.int32), np.array(losses, dtype=np.float32)
    found = Landscape(slice_, DELTAS, f"task-{number}", "test", "accuracy", ["yes"] * 200, ["yes", "no"], *own)
    found.marks = {name: {"place": draws.normal(size=2).tolist(), "distance": 0.1} for name in DELTAS}
    found.paths = {name: np.cumsum(draws.normal(size=(80, 2)) / 50, 0).tolist() for name in DELTAS}
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        started = time.perf_counter()
        report = write_report(made_up_study(Path(folder) / "study"))
        writing = time.perf_counter() - started
        size = report.stat().st_size
        empty = Path(folder) / "empty.html"
        frame = "<!doctype html><title>empty</title><!--{}-->"
        empty.write_text(frame.format("x" * (size - len(frame) + 2)))
        own = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
        browser = driver.chromium.launch(executable_path=own, args=["--no-sandbox"])
        seconds: dict[str, list[float]] = {"report": [], "empty": []}
        for turn in range(ROUNDS + 1):
            for name, path in (("report", report), ("empty", empty)):
                context = browser.new_context()
                page = context.new_page()
                begun = time.perf_counter()
                page.goto(path.as_uri(), wait_until="load")
                if turn:  # the first round is not counted
                    seconds[name].append(time.perf_counter() - begun)
                context.close()
        browser.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    found = {
        "megabytes": round(size / 1e6, 2),
        "milliseconds": {name: round(1000 * value, 1) for name, value in medians.items()},
        "report / empty": round(medians["report"] / medians["empty"], 2),
        "seconds to write": round(writing, 1),
    }
    print(json.dumps(found, indent=1), file=sys.stdout)
    write_json(RESULTS, {"machine": machine(), "versions": versions(), **found})


if __name__ == "__main__":
    main()
