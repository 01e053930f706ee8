"""`python -m benchmarks.costs`: what a study of the paper's size costs on 1, 8 and 64 GPUs, from operations that are counted.

A T5 of T5-base's sizes with random weights; adapter, LoRA, prefix, IA3 and fine-tuning; 60 source and 10 unseen tasks, 3 seeds.
The floating-point operations of every kind of step are counted by PyTorch on a small batch and grow with it; how many operations
a GPU does in a second is assumed (`--teraflops`), for no GPU was at hand. Steps are those of `recipes/paper-multi-task.yaml`, of
which early stopping saves a part that is not known beforehand (`--spent`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import conditions
from benchmarks.models import Sizes, make_t5, random_batch
from benchmarks.run import plain_step
from deltaspace.deltas import AttachedDelta, attach
from deltaspace.storage import write_json

RESULTS = Path(__file__).parent / "results" / "costs.json"
T5_BASE = Sizes(width=768, heads=12, inner=3072, layers=12, tokens=30, batch=2, input_tokens=128, target_tokens=8)
DELTAS: dict[str, dict[str, Any]] = {
    "adapter": {"bottleneck": 12},
    "lora": {"r": 10},
    "prefix": {"tokens": 30},
    "peft": {"peft": "IA3"},
    "finetune": {},
}
GPUS = (1, 8, 64)


@dataclass(frozen=True)
class Plan:
    """A study's size.

    Args:
        sources, unseen, seeds, dim: tasks, seeds, d.
        train, joint, vector: steps of a solution, of the joint training, of an intrinsic vector.
        batch, vector_batch: examples a step.
        dev, test: examples that are scored.
        train_every, joint_every, vector_every: steps between two scorings of dev.
    """

    sources: int = 60
    unseen: int = 10
    seeds: int = 3
    dim: int = 100
    train: int = 20_000
    joint: int = 75_000
    vector: int = 5_000
    batch: int = 16
    vector_batch: int = 8
    dev: int = 1_000
    test: int = 4_000
    train_every: int = 500
    joint_every: int = 2_500
    vector_every: int = 250


@dataclass(frozen=True)
class Passes:
    """Operations of an example's forward pass, and of forward and backward, through one delta; n, its parameters."""

    forward: float
    both: float
    parameters: int


@dataclass(frozen=True)
class Stage:
    """One stage: operations of all of it, of its longest artefact, and how many artefacts there are."""

    name: str
    artefacts: int
    operations: float
    longest: float
    gigabytes: float


def counted(step: Callable[[], object]) -> float:
    """Floating-point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def passes(delta: AttachedDelta, sizes: Sizes) -> Passes:
    """Counted on a batch without padding."""
    batch = random_batch(delta.backbone, sizes)

    @torch.no_grad()
    def forward() -> None:
        delta.backbone.family.loss(delta.model, batch)

    return Passes(counted(forward) / sizes.batch, counted(plain_step(delta, batch)) / sizes.batch, delta.layout.size)


def stages(plan: Plan, measured: dict[str, Passes], spent: float) -> list[Stage]:
    """What each stage does; steps that may stop early are `spent` of their number."""
    all_passes, tasks, deltas = list(measured.values()), plan.sources + plan.unseen, len(measured)

    def tuned(delta: Passes, steps: float, batch: int, every: int, factors: int = 1) -> float:
        scored = plan.test + factors * steps / every * plan.dev
        return factors * steps * batch * delta.both + scored * delta.forward

    solved = [tuned(p, spent * plan.train, plan.batch, plan.train_every) for p in all_passes]
    joint = sum(
        plan.joint * plan.batch * p.both + plan.joint / plan.joint_every * plan.sources * plan.dev * p.forward for p in all_passes
    )
    # Two learning rates side by side, as the recipe's `factors`.
    vectors = [tuned(p, spent * plan.vector, plan.vector_batch, plan.vector_every, 2) for p in all_passes]
    moved = [plan.test * p.forward for p in all_passes]
    size = 4e-9 * sum(p.parameters for p in all_passes)
    small = 4e-9 * sum(p.parameters for name, p in measured.items() if name != "finetune")
    runs, solutions = plan.seeds * plan.unseen, plan.seeds * tasks
    # Fine-tuning's directions are mixtures of its displacements, which stay where they are.
    return [
        Stage("zero-shot", tasks * deltas, tasks * sum(moved), max(moved), 0.0),
        Stage("independent", solutions * deltas, solutions * sum(solved), max(solved), solutions * size),
        Stage("subspace", plan.seeds, plan.seeds * joint, joint, plan.seeds * plan.dim * small),
        Stage("optimized", runs * deltas, runs * sum(vectors), max(vectors), 0.0),
        Stage("transferred", runs * deltas * (deltas - 1), runs * (deltas - 1) * sum(moved), max(moved), 0.0),
    ]


def hours(stage: Stage, gpus: int, teraflops: float) -> float:
    """As long as all of it, shared, and at least as long as its longest artefact."""
    rounds = math.ceil(stage.artefacts / gpus) * stage.operations / stage.artefacts
    return max(rounds, stage.longest) / (teraflops * 1e12) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teraflops", type=float, default=40.0, help="a GPU's operations a second, in 10^12: an assumption")
    parser.add_argument("--spent", type=float, default=0.5, help="part of the steps until early stopping: an assumption")
    parser.add_argument("--layers", type=int, default=T5_BASE.layers, help="of the T5, where the machine is small")
    given = parser.parse_args()
    sizes = replace(T5_BASE, layers=given.layers)
    plm, plan = make_t5(sizes), Plan()
    measured = {name: passes(attach(name, plm, **settings), sizes) for name, settings in DELTAS.items()}
    made = stages(plan, measured, given.spent)
    table = Table(title=f"{plan.sources} + {plan.unseen} tasks, {len(measured)} deltas, {plan.seeds} seeds")
    for column in ("stage", "artefacts", "10^18 operations", "GB of files", *(f"hours, {gpus} GPUs" for gpus in GPUS)):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in made:
        times = [f"{hours(stage, gpus, given.teraflops):.1f}" for gpus in GPUS]
        table.add_row(stage.name, f"{stage.artefacts:,}", f"{stage.operations / 1e18:.1f}", f"{stage.gigabytes:,.1f}", *times)
    together = [f"{sum(hours(stage, gpus, given.teraflops) for stage in made):.1f}" for gpus in GPUS]
    totals = [sum(s.artefacts for s in made), sum(s.operations for s in made) / 1e18, sum(s.gigabytes for s in made)]
    table.add_row("all", f"{totals[0]:,}", f"{totals[1]:.1f}", f"{totals[2]:,.1f}", *together)
    console = Console(width=100)
    console.print(table)
    for name, counts in measured.items():
        console.print(f"{name}: {counts.parameters:,} parameters, 10^9 operations an example: {counts.both / 1e9:.1f}")
    write_json(
        RESULTS,
        {
            **conditions(),
            "assumed": {"teraflops": given.teraflops, "spent": given.spent},
            "passes": {name: vars(counts) for name, counts in measured.items()},
            "stages": [vars(stage) for stage in made],
        },
    )


if __name__ == "__main__":
    main()
