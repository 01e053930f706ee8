"""`python -m benchmarks.serving`: a thousand tasks of MiniLM in one process, as LoRAs of a space of 100 dimensions.

Reports memory (of vectors and basis, and of the process beyond the model), cold and warm switches, and requests: batches in
which each example is of another task, drawn from all thousand, against batches of one task; the same of peft's model with
`adapter_names` and a LoRA for each example; and how many LoRAs take the memory that the thousand tasks take here.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import conditions, medians, seconds_of
from benchmarks.served import serve
from deltaspace.backbone import Backbone, load_backbone
from deltaspace.storage import write_json

RESULTS = Path(__file__).parent / "results" / "serving.json"


def measure(
    plm: Backbone, *, tasks: int = 1000, dim: int = 100, batch: int = 32, length: int = 32, rounds: int = 20, rank: int = 8
) -> dict[str, Any]:
    """All of it; see the top of this file."""
    with torch.no_grad():
        before = _resident()
        served = serve(plm, tasks=tasks, dim=dim, batch=batch, length=length, rank=rank)
        lora, subspace, model, names, inputs, generator = served
        cold = [seconds_of(lambda name=name: model.set_task(name)) for name in names[1 : 1 + rounds]]
        warm = [seconds_of(lambda name=name: model.set_task(name)) for name in names[1 : 1 + rounds]]
        draws = [torch.randperm(tasks, generator=generator)[:batch].tolist() for _ in range(rounds + 1)]
        cold_mixed = iter([[names[index] for index in draw] for draw in draws])
        hot = [names[index] for index in draws[0]]
        size = lora.layout.size * lora.initial.element_size()
        held = subspace.entries["lora"].map.tensors()
        space = sum(tensor.nbytes for tensor in held.values()) + tasks * dim * 4
        fitting = max(batch, min(tasks, space // size))
        theirs = served.in_peft(hot)
        ours, peft = model(**inputs, task_ids=hot), theirs(**inputs, adapter_names=hot)
        difference = float((ours.last_hidden_state - peft.last_hidden_state).abs().max())
        steps = {
            "one task": lambda: model(**inputs),
            "mixed, decoded before": lambda: model(**inputs, task_ids=hot),
            "mixed, of all tasks": lambda: model(**inputs, task_ids=next(cold_mixed)),
            "peft, one task": lambda: theirs(**inputs),
            "peft, mixed": lambda: theirs(**inputs, adapter_names=hot),
        }
        seconds = medians(steps, rounds)
    return {
        "tasks": tasks,
        "dim": dim,
        "batch": [batch, length],
        "bytes": {
            "vectors": tasks * dim * 4,
            "space": space,
            "process": _resident() - before,
            "loras": tasks * size,
            "lora": size,
        },
        "peft_loras_in_the_same_bytes": int(fitting),
        "switch_ms": {"cold": 1e3 * statistics.median(cold), "warm": 1e3 * statistics.median(warm)},
        "seconds": seconds,
        "throughput": {name: seconds["one task"] / seconds[name] for name in ("mixed, decoded before", "mixed, of all tasks")},
        "peft_throughput": seconds["peft, one task"] / seconds["peft, mixed"],
        "largest_difference_from_peft": difference,
    }


def _resident() -> int:
    """The most memory that the process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure, print, write `results/serving.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    result = {**conditions(), **measure(load_backbone("demo"), rounds=parser.parse_args().rounds)}
    write_json(RESULTS, result)
    for name in ("bytes", "switch_ms", "throughput", "peft_throughput"):
        print(f"{name}: {result[name]}")


if __name__ == "__main__":
    main()
