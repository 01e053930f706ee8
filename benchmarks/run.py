"""`python -m benchmarks.run [NAME…]`: steps against their floor, the plain forward + backward of the same PLM and delta.

A T5-small-sized random model, batch 8, 64 input and 8 target tokens. Steps and floors alternate in one run, and the ratio of
their medians is the value, so that a machine that is slow for a while slows both. Every benchmark runs in a process of its own.

- `approximation-single`: one source task, d = 4.
- `approximation-multi`, `approximation-memory`: 60 solutions, batch 8 from 4 tasks, d = 100, a prefix of 120 tokens.
- `optimization-step`: d = 100, the slowest of the three deltas.
- `joint-svd`: 200 solutions of 1.1 M parameters in files, d = 100, against reading the files once.
- `mixed-batch`: MiniLM, a task of its own for each of 32 sentences, against one task for all; peft's `adapter_names` beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from deltaspace.subspace.lowrank import LowRankAdafactor, LowRankGradient
from deltaspace.subspace.methods.displacements import InFiles, Rows
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from tests.tiny import tiny_tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from deltaspace.backbone import load_backbone, make_backbone
from deltaspace.checkpoints.export import as_peft
from deltaspace.deltas import AttachedDelta, attach
from deltaspace.rivals import attach_rival
from deltaspace.storage import read_json, read_tensors, write_json, write_tensors
from deltaspace.study.history import versions
from deltaspace.subspace import approximate, find_projection
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.stages.approximate import joint_loss
from deltaspace.training import Objective

BATCH, INPUTS, TARGETS, ROUNDS = 8, 64, 8, 9
RESULTS = Path(__file__).parent / "results" / "latest.json"
Steps = dict[str, Callable[[], None]]


def backbone():
    """T5-small's sizes with random weights."""
    torch.manual_seed(0)
    sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
    model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    return make_backbone("t5-small-sized", model, tiny_tokenizer("t5"), family="encoder_decoder", device="cpu")


def deltas(tokens: int) -> list[AttachedDelta]:
    """Adapter and LoRA in the paper's sizes, a prefix of `tokens`."""
    plm = backbone()
    return [attach("adapter", plm, bottleneck=12), attach("lora", plm, r=10), attach("prefix", plm, tokens=tokens)]


def batch() -> dict:
    """Random tokens."""
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": {
            "input_ids": torch.randint(100, 32000, (BATCH, INPUTS), generator=generator),
            "attention_mask": torch.ones(BATCH, INPUTS, dtype=torch.long),
        },
        "labels": torch.randint(100, 32000, (BATCH, TARGETS), generator=generator),
    }


def in_files(folder: Path, name: str, tasks: int, size: int) -> Rows:
    """Random displacements, one file a task, as a study keeps them."""
    paths = [folder / f"{name}-{task}.safetensors" for task in range(tasks)]
    for task, path in enumerate(paths):
        drawn = torch.randn(size, generator=torch.Generator().manual_seed(task))
        write_tensors(path, {"displacement": 0.01 * drawn}, {})
    return InFiles(paths)


def plain(attached: AttachedDelta, inputs: dict) -> Callable[[], None]:
    """Forward + backward with the delta's parameters as the model's own."""
    wanted = {name for name, _ in attached.layout.entries}
    parameters = [p for name, p in attached.model.named_parameters() if name in wanted]

    def step() -> None:
        for parameter in parameters:
            parameter.requires_grad_()
            parameter.grad = None
        attached.backbone.family.loss(attached.model, inputs).backward()
        for parameter in parameters:
            parameter.requires_grad_(False)

    return step


def medians(steps: Steps) -> dict[str, float]:
    """Median seconds of each step; all are run in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps(found, indent=1), file=sys.stderr)
    return found


def approximation(attached: list[AttachedDelta], inputs: dict, rows: list[Rows], dim: int, count: int) -> Callable[[], None]:
    """One whole step on `count` source tasks: loss, backward, clipping, the optimizer's step."""
    start = DenseAutoencoder().trainables(rows, [delta.layout.sizes for delta in attached], dim, 0)
    values = [tensor.requires_grad_() for trainable in start for tensor in trainable.trained()]
    gradients = [LowRankGradient() for _ in attached]
    optimizer = LowRankAdafactor(values, [kind for own in gradients for kind in (None, None, own)])
    generator = torch.Generator().manual_seed(0)
    # Any division of the codes will do for timing; the same amount of work as that of the simplex.
    weights = torch.full((count, len(attached)), 1 / len(attached))

    def loss(values: list[torch.Tensor], batch: int) -> Iterator[torch.Tensor]:
        chosen = torch.randperm(rows[0].shape[0], generator=generator)[:count].tolist()
        return joint_loss(attached, start, rows, chosen, weights, 1.0, inputs, gradients)

    def step() -> None:
        optimizer.advance(Objective(values, loss, [0]), 1e-6, 1.0)

    return step


def approximation_single() -> list[dict]:
    """One source task, d = 4."""
    attached, inputs = deltas(60), batch()
    with tempfile.TemporaryDirectory() as folder:
        rows = [in_files(Path(folder), delta.name, 1, delta.layout.size) for delta in attached]
        steps = {delta.name: plain(delta, inputs) for delta in attached}
        found = medians({"step": approximation(attached, inputs, rows, 4, 1), **steps})
    floor = sum(found[delta.name] for delta in attached)
    return [{"name": "approximation-single", "value": found["step"] / floor, "goal": 1.15}]


def approximation_multi() -> list[dict]:
    """60 solutions, batch 8 from 4 tasks, d = 100."""
    attached, inputs = deltas(120), batch()
    with tempfile.TemporaryDirectory() as folder:
        rows = [in_files(Path(folder), delta.name, 60, delta.layout.size) for delta in attached]
        steps = {delta.name: plain(delta, inputs) for delta in attached}
        found = medians({"step": approximation(attached, inputs, rows, 100, 4), **steps})
    floor = sum(found[delta.name] for delta in attached)
    sizes = {delta.name: delta.layout.size for delta in attached}
    return [{"name": "approximation-multi", "value": found["step"] / floor, "goal": 1.25, "parameters": sizes}]


def approximation_memory() -> list[dict]:
    """Peak resident memory of such a step, in a process that does nothing else."""
    attached, inputs = deltas(120), batch()
    with tempfile.TemporaryDirectory() as folder:
        rows = [in_files(Path(folder), delta.name, 60, delta.layout.size) for delta in attached]
        step = approximation(attached, inputs, rows, 100, 4)
        for _ in range(3):
            step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [{"name": "approximation-memory", "value": peak, "goal": 2.0, "unit": "GiB", "floor": None}]


def rival_step(name: str, inputs: dict) -> Callable[[], None]:
    """A training step of one of peft's methods for few numbers, in peft's own modules."""
    attached = attach_rival(name, 100, backbone())
    own = dict(attached.model.named_parameters())
    parameters = [own[entry].requires_grad_() for entry, _ in attached.layout.entries]
    tuned = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step() -> None:
        tuned.zero_grad()
        attached.backbone.family.loss(attached.model, inputs).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        tuned.step()

    return step


def optimization_step() -> list[dict]:
    """d = 100; decoding, forward, backward, clipping, Adam's step; beside it those of peft's Uni-LoRA and VB-LoRA."""
    attached, inputs = deltas(60), batch()
    code = torch.zeros(100).requires_grad_()
    tuned = torch.optim.Adam([code], lr=1e-3, fused=True)
    steps: Steps = {}
    for delta in attached:
        with tempfile.TemporaryDirectory() as folder:
            rows = in_files(Path(folder), delta.name, 60, delta.layout.size)
            [projection] = find_projection("svd").make([rows], [delta.layout.sizes], 100, 0)

        def step(delta=delta, projection=projection) -> None:
            tuned.zero_grad()
            delta.loss(delta.initial + projection.decode(code.unsqueeze(0))[0], inputs).backward()
            torch.nn.utils.clip_grad_norm_([code], 1.0)
            tuned.step()

        steps |= {delta.name: plain(delta, inputs), f"optimization {delta.name}": step}
    rivals = ("unilora", "vblora")
    found = medians({**steps, **{name: rival_step(name, inputs) for name in rivals}})
    ratios = {delta.name: found[f"optimization {delta.name}"] / found[delta.name] for delta in attached}
    # Of the same modules: query and value.
    against = {name: found["optimization lora"] / found[name] for name in rivals}
    return [
        {"name": "optimization-step", "value": max(ratios.values()), "goal": 1.05, "each": ratios},
        {
            "name": "optimization-step-rivals",
            "value": max(against.values()),
            "goal": 1.0,
            "unit": "x the step of peft's Uni-LoRA or VB-LoRA, the faster one",
            "each": against,
        },
    ]


def joint_svd() -> list[dict]:
    """200 solutions of 1.1 M parameters each in files (0.88 GB), d = 100."""
    with tempfile.TemporaryDirectory() as folder:
        rows = in_files(Path(folder), "delta", 200, 1_105_920)
        started = time.perf_counter()
        for path in sorted(Path(folder).iterdir()):
            read_tensors(path)
        reading = time.perf_counter() - started
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        find_projection("svd").make([rows], [[1_105_920 // 24] * 24], 100, 0)
        seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    unit = "x reading the files once"
    return [
        {"name": "joint-svd", "value": seconds / reading, "goal": None, "unit": unit, "seconds": seconds, "memory_GiB": grown}
    ]


@torch.no_grad()
def mixed_batch() -> list[dict]:
    """MiniLM, LoRA: 32 sentences of 32 tasks in one batch against 32 of one task; peft's adapter_names in the same run."""
    plm, tasks = load_backbone("demo"), [f"task-{index}" for index in range(32)]
    lora, generator = attach("lora", plm, r=8), torch.Generator().manual_seed(0)
    subspace = approximate([lora], [], [], dim=100, projection="gaussian")
    for task in tasks:
        subspace.vectors.add(task, "lora", torch.randn(100, generator=generator))
    model = subspace.attach(plm)
    inputs = {
        "input_ids": torch.randint(1000, 20000, (32, 32), generator=generator),
        "attention_mask": torch.ones(32, 32, dtype=torch.long),
    }
    model.set_task(tasks[0], delta="lora")
    theirs = as_peft(lora, model.decoded(tasks[0]))
    for task in tasks:
        theirs.add_adapter(task, theirs.peft_config["default"])
        set_peft_model_state_dict(theirs, get_peft_model_state_dict(as_peft(lora, model.decoded(task))), adapter_name=task)
    own = model(**inputs, task_ids=tasks).last_hidden_state
    torch.testing.assert_close(own, theirs(**inputs, adapter_names=tasks).last_hidden_state, rtol=1e-3, atol=1e-4)
    found = medians(
        {
            "one task": lambda: model(**inputs),
            "mixed": lambda: model(**inputs, task_ids=tasks),
            "peft, one task": lambda: theirs(**inputs),
            "peft, mixed": lambda: theirs(**inputs, adapter_names=tasks),
            "decode": lambda: subspace.decode("lora", subspace.vectors.get(tasks[0])),
            "set": lambda: model.set_task(tasks[1]),
        }
    )
    own_ratio, their_ratio = found["mixed"] / found["one task"], found["peft, mixed"] / found["peft, one task"]
    common = {"unit": "x a batch of one task", "goal": None}
    return [
        {"name": "mixed-batch", **common, "value": own_ratio, "goal": round(1 / 0.7, 3)},
        {"name": "mixed-batch-peft", **common, "value": their_ratio},
        {
            "name": "set-task",
            "value": found["set"] * 1e3,
            "unit": "ms beyond decoding",
            "goal": 1.0,
            "decode_ms": found["decode"] * 1e3,
        },
    ]


BENCHMARKS: dict[str, Callable[[], list[dict]]] = {
    "approximation-single": approximation_single,
    "approximation-multi": approximation_multi,
    "approximation-memory": approximation_memory,
    "optimization-step": optimization_step,
    "joint-svd": joint_svd,
    "mixed-batch": mixed_batch,
}


def machine() -> str:
    """Where it was measured."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def main() -> None:
    """Measure, print and write `results/latest.json`; results of benchmarks that were not asked for stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.here:
        print(json.dumps([result for name in options.names for result in BENCHMARKS[name]()]))
        return
    kept = {result["name"]: result for result in (read_json(RESULTS) if RESULTS.exists() else [])}
    for name in options.names or BENCHMARKS:
        # A process of its own: peak memory is that of this benchmark alone.
        command = [sys.executable, "-m", "benchmarks.run", "--here", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for result in json.loads(output.splitlines()[-1]):
            common = {"unit": "x the plain forward + backward", "floor": 1.0, "command": "make bench"}
            kept[result["name"]] = {**common, **result, "versions": versions(), "machine": machine()}
            goal = "" if result["goal"] is None else f" (goal at most {result['goal']})"
            print(f"{result['name']}: {result['value']:.3f} {kept[result['name']]['unit']}{goal}", flush=True)
            write_json(RESULTS, list(kept.values()))


if __name__ == "__main__":
    main()
