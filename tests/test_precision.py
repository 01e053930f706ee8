"""bf16 products where they are asked for, or where the device has them; fp32 parameters in any case."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends
from typer.main import get_command
from typer.testing import CliRunner

from deltaspace import precision
from deltaspace.cli import app
from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.precision import VARIABLE, chosen_precision, in_precision, precision_on, where_it_helps
from deltaspace.products import Products
from deltaspace.report import write_report
from deltaspace.study import load_recipe, read_history, run_study
from tests.tiny import tiny_backbone, tiny_task, write_example

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


def test_what_is_asked_for_goes_first_then_accelerates_then_the_devices(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: True)
    assert (chosen_precision(cpu), chosen_precision(gpu)) == ("fp32", "bf16")
    with in_precision("auto"):
        assert chosen_precision(cpu) == "bf16"
    with in_precision("fp32"):
        assert chosen_precision(gpu) == "fp32"
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        assert chosen_precision(gpu) == "fp32"
    assert chosen_precision(cpu) == "bf16"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert chosen_precision(gpu) == "fp32"
    with where_it_helps():
        assert chosen_precision(cpu) == "fp32"
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with where_it_helps():
        assert chosen_precision(cpu) == "bf16"
        monkeypatch.setattr(precision, "has_bf16", lambda device: False)
        monkeypatch.setattr(precision, "has_fast_bf16", lambda device: False)
        assert chosen_precision(cpu) == chosen_precision(gpu) == "fp32"
    assert VARIABLE not in os.environ


def test_a_cpu_without_amx_trains_in_fp32_and_samples_in_bf16(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    for amx in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert precision_on(cpu, "auto") == ("bf16" if amx else "fp32")
        assert precision_on(cpu, "auto", gradients=False) == precision_on(gpu, "auto") == precision_on(cpu, "bf16") == "bf16"


def test_an_unknown_precision_is_refused_before_anything_begins(tmp_path, monkeypatch):
    result = CliRunner().invoke(app, ["run", "recipe.yaml", "--out", str(tmp_path / "study"), "--precision", "fp16"])
    assert isinstance(result.exception, DeltaspaceError)
    assert "no precision 'fp16'" in str(result.exception) and "auto, fp32, bf16" in str(result.exception)
    monkeypatch.setenv(VARIABLE, "half")
    with pytest.raises(DeltaspaceError, match="no precision 'half'"):
        chosen_precision(torch.device("cpu"))


def test_every_verb_with_a_model_takes_a_precision():
    for name, command in get_command(app).commands.items():
        options = [option for parameter in command.params for option in parameter.opts]
        assert options.count("--precision") == ("--device" in options), name


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5", "llama"])
@pytest.mark.parametrize("method", ["adapter", "lora", "prefix", "finetune"])
def test_losses_and_gradients_in_bf16_are_those_of_fp32_but_for_rounding(kind, method):
    attached, task = attach(method, tiny_backbone(kind)), tiny_task()
    torch.manual_seed(0)
    start = attached.initial + 0.02 * torch.randn_like(attached.initial)
    batch = attached.backbone.family.collate(attached.backbone.family.encode(task, task.train[:8]))
    gradients, losses = {}, {}
    for each in ("fp32", "bf16"):
        vector = start.clone().requires_grad_()
        with attached.backbone.products.of(each):
            loss = attached.loss(vector, batch)
        losses[each], [gradients[each]] = loss.item(), torch.autograd.grad(loss, vector)
        assert gradients[each].dtype == torch.float32
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02, abs=0.02)
    assert losses["bf16"] != losses["fp32"]
    assert torch.cosine_similarity(gradients["bf16"], gradients["fp32"], dim=0) > 0.98


def test_a_frozen_weight_is_cast_once_and_what_is_trained_is_not():
    backbone, task = tiny_backbone("bert"), tiny_task()
    lora, full = attach("lora", backbone, r=2), attach("finetune", backbone)
    batch = backbone.family.collate(backbone.family.encode(task, task.train[:4]))
    weights = [module.weight for module in backbone.model.modules() if isinstance(module, torch.nn.Linear)]
    with backbone.products.of("bf16"):
        lora.loss(lora.initial, batch)
        first = [backbone.products.weight(weight) for weight in weights]
        lora.loss(lora.initial, batch)
        assert all(backbone.products.weight(weight) is cast for weight, cast in zip(weights, first, strict=True))
        assert {cast.dtype for cast in first} == {torch.bfloat16}
        # All of its linear maps are trained: what is decided changes with the vector.
        changed = full.initial + 0.5
        assert not torch.equal(full.decision(full.initial, batch), full.decision(changed, batch))
    assert not backbone.products._cast
    assert all(backbone.products.weight(weight) is weight for weight in weights)


def test_attention_on_cpus_is_the_one_that_is_fast_both_ways_where_gradients_are_asked_for():
    products = Products(torch.device("cpu"), "bf16")
    usual = set(_cur_sdpa_kernel_backends())
    with products.computing():
        assert _cur_sdpa_kernel_backends() == [SDPBackend.MATH]
        assert torch.is_autocast_enabled("cpu")
    with torch.no_grad(), products.computing():
        assert set(_cur_sdpa_kernel_backends()) == usual
    with Products(torch.device("cpu"), "fp32").computing():
        assert set(_cur_sdpa_kernel_backends()) == usual and not torch.is_autocast_enabled("cpu")


def test_a_study_in_bf16_says_so_and_goes_on_in_fp32(tmp_path):
    recipe = load_recipe(write_example(tmp_path))
    with in_precision("bf16"):
        run_study(recipe, tmp_path / "study", until="independent")
    assert run_study(recipe, tmp_path / "study", until="independent") == 0
    assert run_study(recipe, tmp_path / "study") > 0
    assert [record.machine["precision"] for record in read_history(tmp_path / "study")] == ["bf16", "fp32"]
    page = write_report(tmp_path / "study").read_text()
    assert all(f"{read_history(tmp_path / 'study')[0].machine['system']}, {each}" in page for each in ("bf16", "fp32"))
