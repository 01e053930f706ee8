"""`python -m benchmarks.run`: what a step costs against its floor, the plain forward + backward of the same PLM and delta.

A T5-small-sized random model, batch 8, 64 input and 8 target tokens, d = 4. Steps and floors alternate in one run, and the
ratio of their medians is the value, so that a machine that is slow for a while slows both.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tests.tiny import tiny_tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from deltaspace.backbone import make_backbone
from deltaspace.deltas import AttachedDelta, attach
from deltaspace.files import write_json
from deltaspace.study.run import versions
from deltaspace.subspace import initial_projections
from deltaspace.subspace.approximate import joint_loss

BATCH, INPUTS, TARGETS, DIM, ROUNDS = 8, 64, 8, 4, 15
RESULTS = Path(__file__).parent / "results" / "latest.json"


def backbone():
    """T5-small's sizes with random weights."""
    torch.manual_seed(0)
    sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
    model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    return make_backbone("t5-small-sized", model, tiny_tokenizer("t5"), family="encoder_decoder", device="cpu")


def plain(attached: AttachedDelta, batch: dict) -> Callable[[], None]:
    """Forward + backward with the delta's parameters as the model's own."""
    wanted = {name for name, _ in attached.layout.entries}
    parameters = [p for name, p in attached.model.named_parameters() if name in wanted]

    def step() -> None:
        for parameter in parameters:
            parameter.requires_grad_()
            parameter.grad = None
        attached.backbone.family.loss(attached.model, batch).backward()
        for parameter in parameters:
            parameter.requires_grad_(False)

    return step


def medians(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each step; all are run in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> str:
    """Where it was measured."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def main() -> None:
    """Measure, print and write `results/latest.json`."""
    plm = backbone()
    generator = torch.Generator().manual_seed(0)
    batch = {
        "inputs": {
            "input_ids": torch.randint(100, 32000, (BATCH, INPUTS), generator=generator),
            "attention_mask": torch.ones(BATCH, INPUTS, dtype=torch.long),
        },
        "labels": torch.randint(100, 32000, (BATCH, TARGETS), generator=generator),
    }
    deltas = [attach("adapter", plm, bottleneck=12), attach("lora", plm, r=10), attach("prefix", plm, tokens=60)]
    displacements = [0.01 * torch.randn(1, delta.layout.size, generator=generator) for delta in deltas]
    dense = initial_projections(displacements, DIM, seed=0)
    code = torch.randn(DIM, generator=generator).requires_grad_()
    tuned = torch.optim.Adam([code], lr=1e-3, fused=True)
    trained = [[t.clone().requires_grad_() for t in projection.tensors()] for projection in dense]
    optimizer = torch.optim.Adam([t for tensors in trained for t in tensors], lr=1e-6, fused=True)

    def optimization(delta: AttachedDelta, row: int) -> Callable[[], None]:
        def step() -> None:
            tuned.zero_grad()
            delta.loss(delta.initial + dense[row].decode(code.unsqueeze(0))[0], batch).backward()
            torch.nn.utils.clip_grad_norm_([code], 1.0)
            tuned.step()

        return step

    def approximation() -> None:
        optimizer.zero_grad()
        projections = [p.with_tensors(tensors) for p, tensors in zip(dense, trained, strict=True)]
        weights = torch.full((len(deltas),), 1 / len(deltas))
        joint_loss(deltas, projections, [d[0] for d in displacements], weights, 1.0, batch).backward()
        torch.nn.utils.clip_grad_norm_([t for tensors in trained for t in tensors], 1.0)
        optimizer.step()

    steps: dict[str, Callable[[], None]] = {"approximation": approximation}
    for row, delta in enumerate(deltas):
        steps[f"plain {delta.name}"] = plain(delta, batch)
        steps[f"optimization {delta.name}"] = optimization(delta, row)
    found = medians(steps)
    ratios = {delta.name: found[f"optimization {delta.name}"] / found[f"plain {delta.name}"] for delta in deltas}
    floor = sum(found[f"plain {delta.name}"] for delta in deltas)
    common = {
        "unit": "x the plain forward + backward",
        "floor": 1.0,
        "command": "make bench",
        "versions": versions(),
        "machine": machine(),
    }
    results = [
        {"name": "optimization-step", "value": max(ratios.values()), "goal": 1.10, "each": ratios, **common},
        {"name": "approximation-single", "value": found["approximation"] / floor, "goal": 1.15, **common},
    ]
    write_json(RESULTS, results)
    print(json.dumps(found, indent=1))
    for result in results:
        print(f"{result['name']}: {result['value']:.3f} x (goal at most {result['goal']})")


if __name__ == "__main__":
    main()
