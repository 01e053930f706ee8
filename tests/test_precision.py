"""Device and precision are accelerate's: bf16 where it is asked for, fp32 parameters in any case."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import torch
from deltaspace.deltas import attach
from deltaspace.solutions import train
from deltaspace.training import Training
from tests.tiny import tiny_backbone, tiny_task
lora, task = attach("lora", tiny_backbone("bert"), r=2), tiny_task()
vector = train(lora, task, Training(steps=8, lr=0.01, evaluate_every=4)).vector
kinds = []
lora.call(vector, lambda model: kinds.append(model(input_ids=torch.tensor([[1, 2, 3]])).logits.dtype))
print(vector.dtype, bool(vector.isfinite().all()), kinds[0])
"""


def program(precision):
    environment = {**os.environ, "ACCELERATE_MIXED_PRECISION": precision}
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)


def test_bf16_computes_in_bf16_and_trains_fp32():
    ended = program("bf16")
    assert ended.stdout.split() == ["torch.float32", "True", "torch.bfloat16"], ended.stderr
    assert program("no").stdout.split()[-1] == "torch.float32"


def test_a_precision_that_is_not_supported_is_refused():
    assert "ACCELERATE_MIXED_PRECISION" in program("fp16").stderr
