"""`python -m benchmarks.landscape STUDY [--task T] [--side N] [--rounds N]`: what a cell of a plane costs.

The floor is the plain forward of the same sentences, in the same passes, with the delta's own parameters in the model. Beside it
the package loss-landscapes (`pip install loss-landscapes`) samples as many points of the same models: it copies the model and
adds to all its parameters between points, and evaluates what it is given, here one batch of all sentences (as its examples do),
and again our own passes. All run in turn in one process, and a value is the ratio of medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from deltaspace.landscape import Grid, Slice
from deltaspace.landscape.landscape import _Sampler
from deltaspace.storage import read_json, write_json
from deltaspace.study.folder import Folder
from deltaspace.study.history import machine, versions
from deltaspace.study.recipe import load_recipe
from deltaspace.study.results import study_subspace
from deltaspace.study.run import Report, Study

RESULTS = Path(__file__).parent / "results" / "landscape.json"
EXAMPLES = 200


def floor(attached, batches: list[dict]) -> Callable[[], None]:
    """The plain forward of all sentences."""

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            attached.backbone.family.evaluate(attached.model, batch)

    return run


def rival(attached, batches: list[dict], side: int) -> Callable[[], None]:
    """`loss_landscapes.planar_interpolation` on side x side points of the model with this delta."""
    import copy

    import loss_landscapes
    from loss_landscapes.metrics import Metric

    family = attached.backbone.family

    class MeanLoss(Metric):
        @torch.no_grad()
        def __call__(self, wrapper):
            model = wrapper.modules[0]
            return float(torch.cat([family.evaluate(model, batch).losses for batch in batches]).mean())

    models = [copy.deepcopy(attached.model) for _ in range(3)]
    metric = MeanLoss()
    return lambda: loss_landscapes.planar_interpolation(*models, metric, steps=side)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--task", default="products")
    parser.add_argument("--side", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    recipe = load_recipe(chosen.study / "recipe.yaml")
    study = Study(recipe, Folder(chosen.study), chosen.study, Report())
    subspace, task = study_subspace(chosen.study), study.tasks[chosen.task]
    slice_ = Slice.along(
        "mean", subspace.start("adapter"), dict(zip("xy", torch.eye(subspace.dim), strict=False)), [Grid(-1.0, 1.0, chosen.side)]
    )
    found = []
    for delta in recipe.deltas:
        attached = study.attached(delta, recipe.seed[0])
        items = attached.backbone.family.encode(task, task.test[:EXAMPLES])
        sampler = _Sampler(subspace, attached, items, slice_)
        whole = [attached.backbone.family.collate(items)]
        cells = list(itertools.product(range(chosen.side), repeat=2))

        def ours(sampler=sampler, cells=cells) -> None:
            with torch.no_grad():
                for cell in cells:
                    sampler.evaluate([cell])

        def cast(attached=attached, ours=ours) -> None:
            with attached.weights_as(torch.bfloat16):
                ours()

        plain = floor(attached, sampler._batches)
        steps = {
            "floor": lambda plain=plain, cells=cells: [plain() for _ in cells],
            "fp32": ours,
            "bf16": cast,
            "loss-landscapes": rival(attached, whole, chosen.side),
            "loss-landscapes, our passes": rival(attached, sampler._batches, chosen.side),
        }
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(chosen.rounds + 1):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if turn:  # the first round is not counted
                    seconds[name].append((time.perf_counter() - started) / len(cells))
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        row = {"task": chosen.task, "delta": delta, "seconds a cell": {name: round(value, 3) for name, value in medians.items()}}
        for name in ("fp32", "bf16"):
            row[f"{name} / floor"] = round(medians[name] / medians["floor"], 3)
            row[f"loss-landscapes / {name}"] = round(medians["loss-landscapes"] / medians[name], 2)
        row["loss-landscapes, our passes / fp32"] = round(medians["loss-landscapes, our passes"] / medians["fp32"], 2)
        print(json.dumps(row), flush=True)
        found.append(row)
    kept = read_json(RESULTS)["rows"] if RESULTS.exists() else []
    kept = [row for row in kept if row["task"] != chosen.task] + found
    write_json(RESULTS, {"machine": machine(), "versions": versions(), "examples": EXAMPLES, "rows": kept})


if __name__ == "__main__":
    main()
