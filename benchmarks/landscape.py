"""`python -m benchmarks.landscape STUDY [--task T] [--side N] [--rounds N]`: what a cell of a plane costs.

The floor is the plain forward of the same sentences, in the same passes, with the delta's initial parameters in the model. Beside
it the package loss-landscapes (`pip install loss-landscapes`) samples as many points of the same models: it copies the model and
adds to all its parameters between points, and evaluates what it is given, here one batch of all sentences (as its examples do),
and again our passes. All run in turn in one process, and a value is the ratio of medians. Ours is a whole sampling, tokenizing
and decoding included, divided by its cells.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Step, conditions, medians
from deltaspace.deltas import AttachedDelta
from deltaspace.families import Batch, Evaluation
from deltaspace.landscape import Grid, Sampling, Slice, sample
from deltaspace.storage import read_json, write_json
from deltaspace.study import load_recipe, read_subspace
from deltaspace.study.folder import Folder
from deltaspace.study.resources import Resources
from deltaspace.subspace import Subspace
from deltaspace.tasks import Task

RESULTS = Path(__file__).parent / "results" / "landscape.json"
EXAMPLES = 200


class Recorded(AttachedDelta):
    """A delta that keeps the batches it is evaluated on: the passes of a sampling."""

    def __init__(self, attached: AttachedDelta) -> None:
        super().__init__(attached.delta, attached.backbone, attached.seed, attached.name, attached.initial)
        self.batches: list[Batch] = []

    def evaluate(self, vector: torch.Tensor, batch: Batch) -> Evaluation:
        self.batches.append(batch)
        return super().evaluate(vector, batch)


def plane(subspace: Subspace, side: int) -> Slice:
    """A plane around the mean code along the subspace's first two dimensions, side x side cells."""
    directions = dict(zip("xy", torch.eye(subspace.dim), strict=False))
    return Slice.along("mean", subspace.mean_code(subspace.deltas[0]), directions, [Grid(-1.0, 1.0, side)])


def sampling_steps(
    subspace: Subspace, attached: AttachedDelta, task: Task, slice_: Slice, examples: int = EXAMPLES
) -> tuple[dict[str, Step], list[Batch]]:
    """The floor and our samplings of a slice, and the batches of its passes, each once."""
    recorded = Recorded(attached)
    sample(subspace, [recorded], task, slice_, Sampling(examples=examples, precision="fp32"))
    passes = list(recorded.batches)

    @torch.no_grad()
    def floor() -> None:
        for batch in passes:
            attached.backbone.family.evaluate(attached.model, batch)

    fp32, bf16 = (Sampling(examples=examples, precision=precision) for precision in ("fp32", "bf16"))
    steps: dict[str, Step] = {
        "floor": floor,
        "fp32": lambda: sample(subspace, [attached], task, slice_, fp32),
        "bf16": lambda: sample(subspace, [attached], task, slice_, bf16),
    }
    return steps, list({id(batch): batch for batch in passes}.values())


def rival(attached: AttachedDelta, batches: Sequence[Batch], side: int) -> Step:
    """`loss_landscapes.planar_interpolation` on side x side points of the model with this delta."""
    import loss_landscapes
    from loss_landscapes.metrics import Metric

    family = attached.backbone.family

    class MeanLoss(Metric):
        @torch.no_grad()
        def __call__(self, wrapper: Any) -> float:
            model = wrapper.modules[0]
            return float(torch.cat([family.evaluate(model, batch).losses for batch in batches]).mean())

    models = [copy.deepcopy(attached.model) for _ in range(3)]
    metric = MeanLoss()
    return lambda: loss_landscapes.planar_interpolation(*models, metric, steps=side)


def main() -> None:
    """Measure every delta of the study's recipe and write `results/landscape.json`; what it has of other tasks stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--task", default="products")
    parser.add_argument("--side", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    recipe = load_recipe(options.study / "recipe.yaml")
    resources = Resources(recipe, Folder(options.study))
    subspace, task = read_subspace(options.study), resources.tasks[options.task]
    family = resources.backbone.family
    whole = [family.collate(family.encode(task, task.test[:EXAMPLES]))]
    rows = []
    for attached in resources.deltas(recipe.seed[0]):
        steps, batches = sampling_steps(subspace, attached, task, plane(subspace, options.side))
        # So many sentences fill several passes: no two cells share one.
        steps["loss-landscapes"] = rival(attached, whole, options.side)
        steps["loss-landscapes, our passes"] = rival(attached, batches, options.side)
        seconds = {name: value / options.side**2 for name, value in medians(steps, options.rounds).items()}
        row: dict[str, Any] = {
            "task": options.task,
            "delta": attached.name,
            "seconds a cell": {name: round(value, 3) for name, value in seconds.items()},
        }
        for name in ("fp32", "bf16"):
            row[f"{name} / floor"] = round(seconds[name] / seconds["floor"], 3)
            row[f"loss-landscapes / {name}"] = round(seconds["loss-landscapes"] / seconds[name], 2)
        row["loss-landscapes, our passes / fp32"] = round(seconds["loss-landscapes, our passes"] / seconds["fp32"], 2)
        print(json.dumps(row), flush=True)
        rows.append(row)
    kept = read_json(RESULTS)["rows"] if RESULTS.exists() else []
    rows = [row for row in kept if row["task"] != options.task] + rows
    write_json(RESULTS, {**conditions(), "examples": EXAMPLES, "rows": rows})


if __name__ == "__main__":
    main()
