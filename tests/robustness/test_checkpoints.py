"""Checkpoints that somebody else wrote: what does not fit is refused by name, and nothing in them is run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from deltaspace.checkpoints import load_delta, read_checkpoints
from deltaspace.deltas import attach, peft_settings, read_delta
from deltaspace.errors import DeltaspaceError
from tests.robustness.damaging import WEIGHTS, cut, folder_for, gone, pickled, poisoned, said, tensors, text, without
from tests.tiny import tiny_backbone

ADAPTER = "adapter_model.safetensors"


def adapter(**entries):
    return lambda folder: said(**entries)(folder, "adapter_config.json")


def first(part, change):
    """Change the first tensor of a peft checkpoint whose name has this in it."""

    def damage(folder):
        held = load_file(folder / ADAPTER)
        key = next(key for key in held if part in key)
        change(held, key)
        save_file(held, folder / ADAPTER)

    return damage


CHECKPOINTS = {
    "lora: a key gone": ("lora", first("lora_A", lambda held, key: held.pop(key)), "lora_A.weight is missing"),
    "lora: a key more": ("lora", first("lora_A", lambda held, key: held.update(x=torch.ones(2))), "x is in it"),
    "lora: mis-shaped": ("lora", first("lora_A", lambda held, key: held.update({key: torch.ones(3, 16)})), "of another shape"),
    "lora: NaN": ("lora", first("lora_B", lambda held, key: held[key].fill_(float("nan"))), "not finite"),
    "lora: empty": ("lora", tensors(lambda held: held.clear(), ADAPTER), r"and \d+ more are missing"),
    "lora: cut": ("lora", cut(ADAPTER, 300), "cannot be read"),
    "lora: a folder": ("lora", folder_for(ADAPTER), "cannot be read"),
    "lora: no weights": ("lora", gone(ADAPTER), "pickles are never read"),
    "lora: config a list": ("lora", text("adapter_config.json", "[]"), "is not peft's"),
    "lora: config cut": ("lora", cut("adapter_config.json", 20), "cannot be read"),
    "lora: another rank": ("lora", adapter(r=3), "has other settings"),
    "lora: another method": ("lora", adapter(peft_type="IA3"), "is of another method"),
    "lora: a method that is a list": ("lora", adapter(peft_type=["LORA"]), "is of another method"),
    "lora: another base": ("lora", adapter(base_model_name_or_path="evil/other"), "is of another model"),
    "lora: megatron": ("lora", adapter(megatron_core="evil"), "megatron_core is not taken"),
    "lora: modules to save": ("lora", adapter(modules_to_save=["cls"]), "modules_to_save is not taken"),
    "lora: unheard of": ("lora", adapter(strange="yes"), "strange is not taken"),
    "adapter: cut": ("adapter", cut("delta.safetensors", 500), "is damaged"),
    "adapter: another model": ("adapter", lambda f: said(model_fingerprint="x")(f, "delta.json"), "another model"),
    "adapter: no layout": ("adapter", lambda f: said(layout=None)(f, "delta.json"), "no layout"),
    "adapter: a layout of numbers": ("adapter", lambda f: said(layout=[1])(f, "delta.json"), "a layout that is none"),
    "adapter: settings a list": ("adapter", lambda f: said(delta=[])(f, "delta.json"), "is damaged"),
    "adapter: a seed in words": ("adapter", lambda f: said(seed="x")(f, "delta.json"), "is damaged"),
    "adapter: a bottleneck of 10**9": (
        "adapter",
        lambda f: said(delta={"method": "adapter", "bottleneck": 10**9})(f, "delta.json"),
        "bottleneck: Input should be less than or equal to 65536",
    ),
    "adapter: tensors that are others": ("adapter", tensors(lambda held: held.clear(), "delta.safetensors"), "is damaged"),
    "finetune: a key gone": ("finetune", without("layer.0.attention.self.query.weight"), "query.weight missing"),
    "finetune: a layer more": ("finetune", said(num_hidden_layers=3), "layer.2.* missing"),
    "finetune: a layer less": ("finetune", said(num_hidden_layers=1), "layer.1.* left over"),
    "finetune: NaN": ("finetune", poisoned("query.weight", float("nan")), "not finite"),
    "finetune: pickles": ("finetune", pickled, "pickles such as"),
    "finetune: quantized": ("finetune", said(quantization_config={"quant_method": "bitsandbytes"}), "quantized models"),
    "finetune: cut": ("finetune", cut(WEIGHTS, 3000), "cannot be read"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_damaged_checkpoint(name, checkpoints, tmp_path):
    kind, damage, phrase = CHECKPOINTS[name]
    folder, made = checkpoints
    shutil.copytree(folder / kind, tmp_path / "checkpoint")
    damage(tmp_path / "checkpoint")
    attached = made[kind]
    with pytest.raises(DeltaspaceError, match=phrase):
        if kind == "lora":
            read_checkpoints([str(tmp_path / "checkpoint")], attached)
        elif kind == "adapter":
            load_delta(tmp_path / "checkpoint", attached.backbone)
        else:
            attached.delta.read(attached, [tmp_path / "checkpoint"])


def test_another_fine_tuned_model_with_other_layers_is_refused(checkpoints, tmp_path):
    attached = checkpoints[1]["finetune"]
    shutil.copytree(checkpoints[0] / "finetune", tmp_path / "other")
    said(num_hidden_layers=1)(tmp_path / "other")
    without("encoder.layer.1.")(tmp_path / "other")
    with pytest.raises(DeltaspaceError, match=r"weights of another shape, such as bert.encoder.layer.1"):
        attached.delta.read(attached, [tmp_path / "other"])


LOADING = {
    "a module to import": {"megatron_core": "evil.module", "megatron_config": {}},
    "Megatron": {"megatron_config": {"init_method": "x"}},
    "a tokenizer": {"tokenizer_name_or_path": "evil/tokenizer"},
    "a tokenizer's options": {"tokenizer_kwargs": {"trust_remote_code": True}},
    "a pickle": {"prompt_tuning_init_state_dict_path": "evil.bin"},
    "another model's covariance": {"corda_config": {"cache_file": "evil.pt"}},
    "modules of the model": {"modules_to_save": ["classifier"]},
    "quantization": {"loftq_config": {"loftq_bits": 4}},
}


@pytest.mark.parametrize("name", LOADING)
def test_settings_that_load_something(name, tmp_path):
    """Refused from a checkpoint, from a folder of a subspace or a delta, and in a recipe."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **LOADING[name]}))
    with pytest.raises(DeltaspaceError, match="is not taken from a file of others"):
        peft_settings(tmp_path)
    with pytest.raises(DeltaspaceError, match="is not taken from a file of others"):
        read_delta("x", {"method": "peft", "peft": "LORA", "settings": LOADING[name]}, "subspace.json")
    with pytest.raises(ValueError, match="would make peft load"):
        attach("peft", tiny_backbone("bert"), peft="LORA", settings=LOADING[name])


def test_what_peft_itself_writes_is_taken(checkpoints):
    """Its defaults name Megatron and are harmless."""
    assert peft_settings(checkpoints[0] / "lora")["settings"]["r"] == 2


@pytest.mark.parametrize(("method", "settings"), [("LORA", {"r": 10**9}), ("PROMPT_TUNING", {"num_virtual_tokens": 10**9})])
def test_sizes_that_fit_no_model(method, settings):
    with pytest.raises(ValueError, match="is at most 65,536"):
        attach("peft", tiny_backbone("bert"), peft=method, settings=settings)
