"""`python -m benchmarks.convert [DATA] [--model demo-lm]`: deltas of real tasks, converted to LoRAs of rank 8 without labels.

For each of some tasks (folders in DATA: three on the sentence encoder, a generated one on the language model) and each source:
the source's score and the LoRA's on test, the share of held-out inputs that both decide alike, the share of the source's change
that the LoRA misses, steps, inputs, seconds; and beside it what peft's own `convert_to_lora` makes of the source, where it can:
it takes methods that add to weights.

What is done is kept in the results and not done again: run it as often as needed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
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
SOURCES: dict[str, dict[str, Any]] = {
    "prefix": {},
    "adapter": {},
    "finetune": {},
    "ia3": {"peft": "IA3", "lr_factor": 10},
    "p-tuning": {"peft": "P_TUNING", "num_virtual_tokens": 8},
    # Of these the one that peft converts too.
    "loha": {"peft": "LOHA", "r": 8},
}


@dataclass(frozen=True)
class Setup:
    """What is measured on one PLM: examples of training, dev and test; the LoRA; training of the sources; conversion."""

    tasks: tuple[str, ...]
    limits: tuple[int, int, int]
    max_length: int
    lora: dict[str, Any]
    train: Training
    convert: Conversion


SETUPS = {
    "demo": Setup(
        ("trec", "sst2", "ag_news"),
        (4000, 256, 500),
        128,
        {"r": 8, "target_modules": ("query", "key", "value", "dense")},
        Training(steps=200, lr=2e-3, evaluate_every=100),
        CONVERT,
    ),
    # A generated task, on a language model, of which a step takes seconds.
    "demo-lm": Setup(
        ("past_tense",),
        (1000, 64, 100),
        48,
        {"r": 8, "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")},
        Training(steps=40, lr=5e-3, batch_size=8, evaluate_every=20),
        CONVERT.model_copy(update={"steps": 100, "batch_size": 8, "evaluate_every": 20, "held_out": 64, "inputs": 400}),
    ),
}


def by_peft(source: AttachedDelta, vector: torch.Tensor, task: Task, setup: Setup) -> dict[str, Any]:
    """What peft's convert_to_lora makes of a source, or why it makes nothing."""
    if not isinstance(source.delta, PeftBacked):
        return {"cannot": "no method of peft"}
    from peft import PeftModel, convert_to_lora, set_peft_model_state_dict

    backbone, rank = source.backbone, setup.lora["r"]
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
    held = backbone.family.encode(task, task.dev[: setup.convert.held_out])
    agreement = Followed((source, vector), target, held, task.ranked).agreement(converted)
    return {"score": score(target, task, converted).value, **asdict(agreement), "seconds": seconds}


def measure(backbone: Backbone, task: Task, name: str, setup: Setup) -> dict[str, Any]:
    """One source on one task; see the top of this file."""
    method = name if not SOURCES[name] else "peft"
    source = AttachedDelta(make_delta(method, SOURCES[name]), backbone, name=name)
    started = time.perf_counter()
    vector = train(source, task, setup.train).vector
    trained = time.perf_counter() - started
    started = time.perf_counter()
    made = convert((source, vector), make_delta("lora", setup.lora), task, setup.convert)
    seconds = time.perf_counter() - started
    assert made.scores is not None
    return {
        "model": backbone.name,
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
        "peft": by_peft(source, vector, task, setup),
    }


def main() -> None:
    """Measure what is missing, write `results/convert.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("shared/data/tasks"))
    parser.add_argument("--model", choices=sorted(SETUPS), default="demo")
    options = parser.parse_args()
    kept = read_json(RESULTS) if RESULTS.exists() else {"rows": []}
    setup = SETUPS[options.model]
    backbone = load_backbone(options.model, max_length=setup.max_length)
    for task_name in setup.tasks:
        for name in SOURCES:
            if any((row["task"], row["source"]) == (task_name, name) for row in kept["rows"]):
                continue
            row = measure(backbone, limited(load_task(str(options.data / task_name)), setup.limits), name, setup)
            kept = {
                **conditions(),
                "settings": {model: jsonable(each) for model, each in SETUPS.items()},
                "rows": [*kept["rows"], row],
            }
            write_json(RESULTS, kept)
            print(
                f"{task_name:10} {name:10} {row['source_score']:.1f} -> {row['lora_score']:.1f}, "
                f"{row['after']['same']:.1%} alike, {row['after']['missed']:.1%} missed, {row['steps']} steps, "
                f"{row['seconds']['conversion']:.0f} s",
                flush=True,
            )


def limited(task: Task, limits: tuple[int, int, int]) -> Task:
    """The first examples of each split."""
    train_count, dev, test = limits
    return replace(task, train=task.train[:train_count], dev=task.dev[:dev], test=task.test[:test])


def jsonable(setup: Setup) -> dict[str, Any]:
    """A setup as JSON."""
    return {**vars(setup), "train": setup.train.model_dump(), "convert": setup.convert.model_dump()}


if __name__ == "__main__":
    main()
