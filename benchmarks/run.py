"""`python -m benchmarks.run [NAME…]`: steps against their floor, the plain forward + backward of the same PLM and delta.

A T5-small-sized random model, batch 8, 64 input and 8 target tokens. Steps and floors alternate in one run, and the ratio of
their medians is the value, so that a machine that is slow for a while slows both. Every benchmark runs in a process of its own.

- `approximation-single`: one source task, d = 4.
- `approximation-multi`, `approximation-memory`: 60 solutions, batch 8 from 4 tasks, d = 100, a prefix of 120 tokens.
- `aligned-step`: the same with the agreement of the deltas at 6 vectors on 4 texts, against all passes that it needs.
- `optimization-step`: d = 100, the slowest of the three deltas.
- `joint-svd`: 200 solutions of 1.1 M parameters in files, d = 100, against reading the files once.
- `decoder-step`, `decoder-scoring`, `decoder-generation`: see benchmarks/decoders.py.
- `bf16-step`, `bf16-step-lm`: see benchmarks/products.py.
- `mixed-batch`: MiniLM, a task of its own for each of 32 sentences, against one task for all; peft's `adapter_names` beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoders import decoder_generation, decoder_scoring, decoder_step
from benchmarks.measuring import Step, conditions, medians
from benchmarks.models import MEASURED, Sizes, attach_deltas, make_t5, random_batch
from benchmarks.products import bf16_step, bf16_step_lm
from benchmarks.served import serve
from deltaspace.backbone import Backbone, load_backbone
from deltaspace.deltas import AttachedDelta
from deltaspace.families import Batch
from deltaspace.rivals import attach_rival
from deltaspace.storage import read_json, read_tensors, write_json, write_tensors
from deltaspace.subspace import Approximation, Entry, Source, find_projection
from deltaspace.subspace.fitting.affine import AffineDense
from deltaspace.subspace.fitting.displacements import InFiles
from deltaspace.subspace.fitting.lowrank import LowRankAdafactor
from deltaspace.subspace.fitting.method import Problem
from deltaspace.subspace.methods.aligned import AlignedDirections
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.objectives.aligned import CONSENSUS, Aligned, Weights
from deltaspace.subspace.objectives.interpolated import joint_loss
from deltaspace.tasks import Example, Task
from deltaspace.training import StepLoss

ROUNDS = 9
RESULTS = Path(__file__).parent / "results" / "latest.json"
RIVALS = ("unilora", "vblora")
Result = dict[str, Any]
# A family, a model and a batch to a number.
Pass = Callable[..., torch.Tensor]


def random_source(folder: Path, name: str, tasks: int, blocks: Sequence[int]) -> Source:
    """Random displacements, one file a task, as a study keeps them."""
    paths = [folder / f"{name}-{task}.safetensors" for task in range(tasks)]
    for task, path in enumerate(paths):
        drawn = torch.randn(sum(blocks), generator=torch.Generator().manual_seed(task))
        write_tensors(path, {"displacement": 0.01 * drawn}, {})
    return Source(InFiles(paths), blocks)


def random_sources(folder: str, attached: Sequence[AttachedDelta], tasks: int) -> list[Source]:
    """`random_source` of every delta."""
    return [random_source(Path(folder), delta.name, tasks, delta.layout.sizes) for delta in attached]


def plain_step(attached: AttachedDelta, batch: Batch, passed: Pass = lambda family, *given: family.loss(*given)) -> Step:
    """Forward + backward with the delta's parameters as the model's, of the loss or of what else is passed."""
    tuned = {name for name, _ in attached.layout.entries}
    parameters = [parameter for name, parameter in attached.model.named_parameters() if name in tuned]

    def step() -> None:
        for parameter in parameters:
            parameter.requires_grad_()
            parameter.grad = None
        passed(attached.backbone.family, attached.model, batch).backward()
        for parameter in parameters:
            parameter.requires_grad_(False)

    return step


def approximation_step(attached: Sequence[AttachedDelta], sources: Sequence[Source], batch: Batch, dim: int, count: int) -> Step:
    """One whole step on `count` source tasks: loss, backward, clipping, the optimizer's step."""
    trainables = DenseAutoencoder().trainables(sources, dim, 0)
    named = [(trainable, name, value) for trainable in trainables for name, value in trainable.trained().items()]
    values = [value.requires_grad_() for _, _, value in named]
    optimizer = LowRankAdafactor(values, [trainable.factors().get(name) for trainable, name, _ in named])
    generator = torch.Generator().manual_seed(0)
    # Any division of the codes will do for timing; the same amount of work as that of the simplex.
    weights = torch.full((count, len(attached)), 1 / len(attached))

    def loss(_: list[torch.Tensor], step: int) -> Iterator[torch.Tensor]:
        tasks = torch.randperm(sources[0].tasks, generator=generator)[:count].tolist()
        return joint_loss(attached, sources, trainables, tasks, weights, 1.0, batch)

    def step() -> None:
        optimizer.advance(StepLoss(values, loss, [0]), 1e-6, 1.0)

    return step


def approximation_ratio(
    attached: Sequence[AttachedDelta], solutions: int, dim: int, count: int, sizes: Sizes, rounds: int
) -> float:
    """`approximation_step` over the plain steps of all deltas together."""
    batch = random_batch(attached[0].backbone, sizes)
    with tempfile.TemporaryDirectory() as folder:
        sources = random_sources(folder, attached, solutions)
        floors = {delta.name: plain_step(delta, batch) for delta in attached}
        seconds = medians({"step": approximation_step(attached, sources, batch, dim, count), **floors}, rounds)
    return seconds["step"] / sum(seconds[name] for name in floors)


def approximation_single(sizes: Sizes = MEASURED, rounds: int = ROUNDS) -> list[Result]:
    """One source task, d = 4."""
    ratio = approximation_ratio(attach_deltas(sizes, sizes.tokens), 1, 4, 1, sizes, rounds)
    return [{"name": "approximation-single", "value": ratio, "goal": 1.15}]


def approximation_multi(sizes: Sizes = MEASURED, rounds: int = ROUNDS) -> list[Result]:
    """60 solutions, batch 8 from 4 tasks, d = 100."""
    attached = attach_deltas(sizes, sizes.more_tokens)
    ratio = approximation_ratio(attached, sizes.solutions, sizes.dim, sizes.batch_tasks, sizes, rounds)
    counts = {delta.name: delta.layout.size for delta in attached}
    return [{"name": "approximation-multi", "value": ratio, "goal": 1.25, "parameters": counts}]


def approximation_memory(sizes: Sizes = MEASURED) -> list[Result]:
    """Peak resident memory of such a step, in a process that does nothing else."""
    attached = attach_deltas(sizes, sizes.more_tokens)
    batch = random_batch(attached[0].backbone, sizes)
    with tempfile.TemporaryDirectory() as folder:
        sources = random_sources(folder, attached, sizes.solutions)
        step = approximation_step(attached, sources, batch, sizes.dim, sizes.batch_tasks)
        for _ in range(3):
            step()
    return [{"name": "approximation-memory", "value": peak_memory(), "goal": 2.0, "unit": "GiB", "floor": None}]


def aligned_step(sizes: Sizes = MEASURED, rounds: int = ROUNDS, vectors: int = 6, texts: int = 4) -> list[Result]:
    """A whole step of `aligned` with all its terms: task loss, distillation, agreement, isometry, reconstruction."""
    attached = attach_deltas(sizes, sizes.more_tokens)
    tasks = [random_task(f"task-{index}", sizes) for index in range(sizes.solutions)]
    settings = Approximation(batch_size=sizes.batch, tasks=sizes.batch_tasks, steps=rounds, lr=1e-6)
    with tempfile.TemporaryDirectory() as folder:
        sources = random_sources(folder, attached, sizes.solutions)
        problem = Problem(attached, sources, tasks, sizes.dim, settings, 0)
        started = AlignedDirections().raw(sources, sizes.dim, 0)
        family = attached[0].backbone.family
        items = [item for task in tasks for item in family.encode(task, task.train)]
        weights = Weights(1.0, 1.0, 1.0, 1.0, 0.1, 1, CONSENSUS, vectors, texts, reach=1.0, near=0.3, far=1.0)
        objective = Aligned(problem, weights, items)
        values = [trainable.up.requires_grad_() for trainable in started if isinstance(trainable, AffineDense)]
        optimizer = LowRankAdafactor(values, [trainable.factors().get("up") for trainable in started])

        def step() -> None:
            optimizer.advance(StepLoss(values, lambda _, index: objective.parts(started, index), [0]), 1e-6, 1.0)

        task_batch, text_batch = family.collate(items[: sizes.batch]), family.collate(items[: vectors * texts])
        floors = {f"{delta.name}, task": plain_step(delta, task_batch) for delta in attached}
        for delta in attached:
            floors[f"{delta.name}, texts"] = plain_step(delta, text_batch, _decide)
            floors[f"{delta.name}, distillation"] = plain_step(delta, task_batch, _decide)
            floors[f"{delta.name}, source solutions"] = partial(_forward, delta, task_batch)
        # What changes is told from the PLM as it was, on the texts of both.
        floors |= {
            "untuned, task": partial(_forward, attached[0], task_batch),
            "untuned, texts": partial(_forward, attached[0], family.collate(items[:texts])),
        }
        seconds = medians({"step": step, **floors}, rounds)
    return [{"name": "aligned-step", "value": seconds["step"] / sum(seconds[name] for name in floors), "goal": 1.15}]


def _decide(family: Any, model: Any, batch: Batch) -> torch.Tensor:
    return torch.as_tensor(family.decision(model, batch)).sum()


@torch.no_grad()
def _forward(delta: AttachedDelta, batch: Batch) -> None:
    delta.backbone.family.decision(delta.model, batch)


def random_task(name: str, sizes: Sizes) -> Task:
    """A generated task, all of whose texts are of one length."""
    text, target = ("word " * count for count in (sizes.input_tokens, sizes.target_tokens))
    examples = tuple(Example(text.strip(), target.strip()) for _ in range(sizes.batch))
    return Task(name, "generation", "exact_match", {}, None, examples, examples, examples, "benchmarks")


def peak_memory() -> float:
    """The most memory that this process ever had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def tuned_step(parameters: Sequence[torch.Tensor], loss: Callable[[], torch.Tensor]) -> Step:
    """A step of Adam: forward, backward, clipping, update."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def decoded_step(attached: AttachedDelta, source: Source, batch: Batch, dim: int) -> Step:
    """A step of the subspace optimization: decoding and `tuned_step` of d numbers."""
    [decoder] = find_projection("svd").make([source], dim, 0)
    entry = Entry(attached.initial, decoder)
    vector = torch.zeros(dim).requires_grad_()
    return tuned_step([vector], lambda: attached.loss(entry.decode(vector.unsqueeze(0))[0], batch))


def rival_step(name: str, plm: Backbone, batch: Batch, dim: int) -> Step:
    """A training step of one of peft's methods for few numbers, in peft's modules."""
    attached = attach_rival(name, dim, plm)
    named = dict(attached.model.named_parameters())
    parameters = [named[entry].requires_grad_() for entry, _ in attached.layout.entries]
    return tuned_step(parameters, lambda: plm.family.loss(attached.model, batch))


def optimization_step(sizes: Sizes = MEASURED, rounds: int = ROUNDS) -> list[Result]:
    """d = 100; decoding, forward, backward, clipping, Adam's step; beside it those of peft's Uni-LoRA and VB-LoRA."""
    attached = attach_deltas(sizes, sizes.tokens)
    batch = random_batch(attached[0].backbone, sizes)
    steps: dict[str, Step] = {}
    for delta in attached:
        with tempfile.TemporaryDirectory() as folder:
            [source] = random_sources(folder, [delta], sizes.solutions)
            decoded = decoded_step(delta, source, batch, sizes.dim)
        steps |= {delta.name: plain_step(delta, batch), f"optimization {delta.name}": decoded}
    rivals = {name: rival_step(name, make_t5(sizes), batch, sizes.dim) for name in RIVALS}
    seconds = medians({**steps, **rivals}, rounds)
    ratios = {delta.name: seconds[f"optimization {delta.name}"] / seconds[delta.name] for delta in attached}
    # Of the same modules: query and value.
    against = {name: seconds["optimization lora"] / seconds[name] for name in rivals}
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


def joint_svd(solutions: int = 200, blocks: Sequence[int] = (46_080,) * 24, dim: int = 100) -> list[Result]:
    """200 solutions of 1.1 M parameters each in files (0.88 GB), d = 100."""

    def read(folder: str) -> None:
        for path in sorted(Path(folder).iterdir()):
            read_tensors(path)

    with tempfile.TemporaryDirectory() as folder:
        source = random_source(Path(folder), "delta", solutions, blocks)
        before = peak_memory()
        steps = {"svd": lambda: find_projection("svd").make([source], dim, 0), "reading": lambda: read(folder)}
        seconds = medians(steps, 3)
    return [
        {
            "name": "joint-svd",
            "value": seconds["svd"] / seconds["reading"],
            "goal": 2.5,
            "unit": "x reading the files once",
            "seconds": seconds["svd"],
            "memory_GiB": peak_memory() - before,
        }
    ]


@torch.no_grad()
def mixed_batch(
    plm: Backbone | None = None, count: int = 32, length: int = 32, dim: int = 100, rounds: int = ROUNDS
) -> list[Result]:
    """MiniLM, LoRA: 32 sentences of 32 tasks in one batch against 32 of one task; peft's adapter_names in the same run."""
    served = serve(plm or load_backbone("demo"), tasks=count, dim=dim, batch=count, length=length, rank=8)
    _, subspace, model, tasks, inputs, _ = served
    theirs = served.in_peft(tasks)
    ours = model(**inputs, task_ids=tasks).last_hidden_state
    torch.testing.assert_close(ours, theirs(**inputs, adapter_names=tasks).last_hidden_state, rtol=1e-3, atol=1e-4)
    seconds = medians(
        {
            "one task": lambda: model(**inputs),
            "mixed": lambda: model(**inputs, task_ids=tasks),
            "peft, one task": lambda: theirs(**inputs),
            "peft, mixed": lambda: theirs(**inputs, adapter_names=tasks),
            "decode": lambda: subspace.decode("lora", subspace.vectors.get(tasks[0])),
            "set": lambda: model.set_task(tasks[1]),
        },
        rounds,
    )
    common = {"unit": "x a batch of one task", "goal": None}
    return [
        {"name": "mixed-batch", **common, "value": seconds["mixed"] / seconds["one task"], "goal": round(1 / 0.7, 3)},
        {"name": "mixed-batch-peft", **common, "value": seconds["peft, mixed"] / seconds["peft, one task"]},
        {
            "name": "set-task",
            "value": seconds["set"] * 1e3,
            "unit": "ms beyond decoding",
            "goal": 1.0,
            "decode_ms": seconds["decode"] * 1e3,
        },
    ]


BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
    "approximation-single": approximation_single,
    "approximation-multi": approximation_multi,
    "approximation-memory": approximation_memory,
    "aligned-step": aligned_step,
    "optimization-step": optimization_step,
    "joint-svd": joint_svd,
    "mixed-batch": mixed_batch,
    "decoder-step": decoder_step,
    "decoder-scoring": decoder_scoring,
    "decoder-generation": decoder_generation,
    "bf16-step": bf16_step,
    "bf16-step-lm": bf16_step_lm,
}


def main() -> None:
    """Measure, print and write `results/latest.json`; results of benchmarks that were not asked for stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.here:
        print(json.dumps([result for name in options.names for result in BENCHMARKS[name]()]))
        return
    kept = {result["name"]: result for result in (read_json(options.out) if options.out.exists() else [])}
    for name in options.names or BENCHMARKS:
        # A process of its own: peak memory is that of this benchmark alone.
        command = [sys.executable, "-m", "benchmarks.run", "--here", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for result in json.loads(output.splitlines()[-1]):
            common = {"unit": "x the plain forward + backward", "floor": 1.0, "command": "make bench"}
            kept[result["name"]] = {**common, **result, **conditions()}
            goal = "" if result["goal"] is None else f" (goal at most {result['goal']})"
            print(f"{result['name']}: {result['value']:.3f} {kept[result['name']]['unit']}{goal}", flush=True)
            write_json(options.out, list(kept.values()))


if __name__ == "__main__":
    main()
