"""`python -m benchmarks.convert [DATA]`: deltas trained on real tasks, each converted to a LoRA of rank 8 without labels.

For each of three tasks (folders in DATA) and each source: the source's score and the LoRA's on test, the share of held-out inputs
that both decide alike, the share of the source's change that the LoRA misses, steps, inputs, seconds; and beside it what peft's
own `convert_to_lora` makes of the source, where it can: it takes methods that add to weights.

What is done is kept in the results and not done again: run it as often as needed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import conditions
from deltaspace.backbone import Backbone, load_backbone
from deltaspace.checkpoints import CONVERT, Conversion, convert
from deltaspace.checkpoints.followed import Followed
from deltaspace.deltas import AttachedDelta, PeftBacked, attach, make_delta
from deltaspace.errors import first_line
from deltaspace.scoring import score
from deltaspace.solutions import train
from deltaspace.storage import read_json, write_json
from deltaspace.tasks import Task, load_task
from deltaspace.training import Training

RESULTS = Path(__file__).parent / "results" / "convert.json"
TASKS = ("trec", "sst2", "ag_news")
SOURCES: dict[str, dict[str, Any]] = {
    "prefix": {},
    "adapter": {},
    "finetune": {},
    "ia3": {"peft": "IA3", "lr_factor": 10},
    "p-tuning": {"peft": "P_TUNING", "num_virtual_tokens": 8},
    # Of these the one that peft converts too.
    "loha": {"peft": "LOHA", "r": 8},
}
LORA: dict[str, Any] = {"r": 8, "target_modules": ("query", "key", "value", "dense")}
TRAIN = Training(steps=200, lr=2e-3, evaluate_every=100)
INPUTS = 2000


def by_peft(source: AttachedDelta, vector: torch.Tensor, task: Task) -> dict[str, Any]:
    """What peft's convert_to_lora makes of a source, or why it makes nothing."""
    if not isinstance(source.delta, PeftBacked):
        return {"cannot": "no method of peft"}
    from peft import PeftModel, convert_to_lora, set_peft_model_state_dict

    backbone, rank = source.backbone, LORA["r"]
    started = time.perf_counter()
    try:
        config, weights = convert_to_lora(source.delta.as_peft(source, vector), rank=rank)
    except Exception as error:  # each method refuses in its own way
        return {"cannot": first_line(error)}
    seconds = time.perf_counter() - started
    target = attach("lora", backbone, r=rank, alpha=float(config.lora_alpha), target_modules=tuple(config.target_modules))
    wrapped = target.delta.as_peft(target, target.initial)
    assert isinstance(wrapped, PeftModel)
    set_peft_model_state_dict(wrapped, weights)
    converted = torch.cat([p.detach().reshape(-1) for name, p in wrapped.named_parameters() if "lora_" in name])
    held = backbone.family.encode(task, task.dev[: CONVERT.held_out])
    agreement = Followed((source, vector), target, held, task.ranked).agreement(converted)
    return {"score": score(target, task, converted).value, **asdict(agreement), "seconds": seconds}


def measure(backbone: Backbone, task: Task, name: str, settings: Conversion, training: Training) -> dict[str, Any]:
    """One source on one task; see the top of this file."""
    method = name if not SOURCES[name] else "peft"
    source = AttachedDelta(make_delta(method, SOURCES[name]), backbone, name=name)
    started = time.perf_counter()
    vector = train(source, task, training).vector
    trained = time.perf_counter() - started
    started = time.perf_counter()
    made = convert((source, vector), make_delta("lora", LORA), task, settings)
    seconds = time.perf_counter() - started
    assert made.scores is not None
    return {
        "task": task.name,
        "source": name,
        "zero_shot": score(source, task, source.initial).value,
        "source_score": made.scores.source.value,
        "lora_score": made.scores.target.value,
        "test_examples": made.scores.target.count,
        "start": made.start,
        "before": asdict(made.before),
        "after": asdict(made.after),
        "inputs": made.inputs,
        "steps": 0 if made.fit is None else made.fit.best_step,
        "seconds": {"training": trained, "conversion": seconds},
        "curve": [] if made.fit is None else made.fit.curve,
        "peft": by_peft(source, vector, task),
    }


def main() -> None:
    """Measure what is missing, write `results/convert.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("shared/data/tasks"))
    options = parser.parse_args()
    kept = read_json(RESULTS) if RESULTS.exists() else {"rows": []}
    backbone = load_backbone("demo")
    for task_name in TASKS:
        for name in SOURCES:
            if any((row["task"], row["source"]) == (task_name, name) for row in kept["rows"]):
                continue
            task = load_task(str(options.data / task_name))
            row = measure(backbone, replace(task, train=task.train[:INPUTS]), name, CONVERT, TRAIN)
            kept = {
                **conditions(),
                "lora": LORA,
                "train": TRAIN.model_dump(),
                "convert": CONVERT.model_dump(),
                "rows": [*kept["rows"], row],
            }
            write_json(RESULTS, kept)
            print(
                f"{task_name:10} {name:10} {row['source_score']:.1f} -> {row['lora_score']:.1f}, "
                f"{row['after']['same']:.1%} alike, {row['after']['missed']:.1%} missed, {row['steps']} steps, "
                f"{row['seconds']['conversion']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
