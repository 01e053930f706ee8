"""A training step in bf16 against the same in fp32, in one run, on this device: what `--precision bf16` brings.

- `bf16-step`: all-MiniLM-L6-v2 with a LoRA, forward and backward of 16 texts of 32 tokens.
- `bf16-step-lm`: SmolLM2-135M-Instruct with a LoRA, 8 texts of 32 input and 8 target tokens.

Of CPUs those with AMX gain the most; `ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16` shows what one without it gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from benchmarks.measuring import Step, medians
from deltaspace.backbone import Backbone, load_backbone
from deltaspace.deltas import attach
from deltaspace.precision import Precision, has_bf16
from deltaspace.tasks import Example, make_task
from deltaspace.tasks.task import SPLITS, Kind

ROUNDS = 9
Result = dict[str, Any]


def bf16_step(plm: Backbone | None = None, batch: int = 16, words: int = 30, rounds: int = ROUNDS) -> list[Result]:
    """A sentence encoder, or another PLM, on texts of two labels."""
    rows = [Example(f"{'word ' * words}{row}", ("no", "yes")[row % 2]) for row in range(batch)]
    return _measured("bf16-step", plm or load_backbone("demo"), rows, "classification", rounds)


def bf16_step_lm(plm: Backbone | None = None, batch: int = 8, words: int = 30, rounds: int = ROUNDS // 2) -> list[Result]:
    """A language model on texts that it writes."""
    rows = [Example(f"{'word ' * words}{row}", "one two three four five six") for row in range(batch)]
    return _measured("bf16-step-lm", plm or load_backbone("demo-lm"), rows, "generation", rounds)


def _measured(name: str, plm: Backbone, rows: Sequence[Example], kind: Kind, rounds: int) -> list[Result]:
    task = make_task("words", dict.fromkeys(SPLITS, rows), source="benchmarks", kind=kind)
    attached = attach("lora", plm)
    inputs = plm.family.collate(plm.family.encode(task, rows))

    def step_in(precision: Precision) -> Step:
        vector = attached.initial.clone().requires_grad_()

        def step() -> None:
            vector.grad = None
            with plm.products.of(precision):
                attached.loss(vector, inputs).backward()

        return step

    # Frozen weights are cast once a training, and so once here.
    with plm.products.of("bf16"):
        attached.loss(attached.initial, inputs)
        seconds = medians({precision: step_in(precision) for precision in get_args(Precision)}, rounds)
    said = {"unit": "x the step in fp32", "goal": None, "seconds": seconds, "native": has_bf16(plm.device)}
    return [{"name": name, "value": seconds["bf16"] / seconds["fp32"], **said}]
