"""Checkpoints that somebody else wrote: what does not fit is refused by name, and nothing in them is run."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from deltaspace.checkpoints import export_delta, load_delta, read_checkpoints
from deltaspace.deltas import attach, peft_settings, read_delta
from deltaspace.errors import DeltaspaceError
from tests.robustness.damaging import WEIGHTS, cut, folder_for, gone, pickled, poisoned, said, tensors, text, without
from tests.tiny import tiny_backbone, tiny_task

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
    "lora: a setting twice": (
        "lora",
        text("adapter_config.json", '{"peft_type": "LORA", "r": 2, "r": 3}'),
        r"adapter_config\.json cannot be read\n  found: 'r' stands twice",
    ),
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
    "adapter: a layout of numbers": ("adapter", lambda f: said(layout=[1])(f, "delta.json"), "a layout of another form"),
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
    with pytest.raises(DeltaspaceError, match=phrase) as caught:
        if kind == "lora":
            read_checkpoints([str(tmp_path / "checkpoint")], attached)
        elif kind == "adapter":
            load_delta(tmp_path / "checkpoint", attached.backbone)
        else:
            attached.delta.read(attached, [tmp_path / "checkpoint"])
    assert caught.value.mend


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
    with pytest.raises(DeltaspaceError, match="would make peft load"):
        attach("peft", tiny_backbone("bert"), peft="LORA", settings=LOADING[name])


def test_what_peft_itself_writes_is_taken(checkpoints):
    """Its defaults name Megatron and are harmless."""
    assert peft_settings(checkpoints[0] / "lora")["settings"]["r"] == 2


def test_a_setting_beside_the_others_is_looked_at_too():
    for settings in ({"strange": 1}, {"megatron_core": "evil"}, {"layer_replication": [[0, 2]]}):
        with pytest.raises(DeltaspaceError, match=r"subspace\.json: .*(is not taken|not one vector)"):
            read_delta("x", {"method": "peft", "peft": "LORA", **settings}, "subspace.json")


@pytest.mark.parametrize(("method", "settings"), [("LORA", {"r": 10**9}), ("PROMPT_TUNING", {"num_virtual_tokens": 10**9})])
def test_sizes_that_fit_no_model(method, settings):
    with pytest.raises(DeltaspaceError, match="is at most 65,536"):
        attach("peft", tiny_backbone("bert"), peft=method, settings=settings)


UNFIT = {
    **{f"LoRA that begins as {name}": {"init_lora_weights": name} for name in ("pissa", "pissa_niter_4", "olora", "OLoRA")},
    **{f"LoRA that begins as {name}": {"init_lora_weights": name} for name in ("corda", "loftq", "lora_ga", "eva", "nonsense")},
    "a beginning that is a number": {"init_lora_weights": 1},
    "a beginning that is a list": {"init_lora_weights": ["pissa"]},
    "more layers": {"layer_replication": [[0, 2], [0, 2]]},
    "certain tokens alone": {"alora_invocation_tokens": [5]},
    "weights that are cut": {"kasa_config": {"beta": 1e-4}},
    "distributions": {"monteclora_config": {"buffer_size": 10}},
    "drawn at every call": {"sample_at_inference": True},
}


@pytest.mark.parametrize("name", UNFIT)
def test_settings_with_which_no_vector_says_what_is_computed(name, tmp_path):
    """From a checkpoint, from a folder of a subspace or a delta, and in a recipe."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **UNFIT[name]}))
    told = "not one vector|changes the model's own weights"
    with pytest.raises(DeltaspaceError, match=told):
        peft_settings(tmp_path)
    with pytest.raises(DeltaspaceError, match=told):
        read_delta("x", {"method": "peft", "peft": "LORA", "settings": UNFIT[name]}, "subspace.json")
    with pytest.raises(DeltaspaceError, match=told):
        attach("peft", tiny_backbone("bert"), peft="LORA", settings=UNFIT[name])


def test_a_checkpoint_beside_a_changed_model_is_not_read_as_another(checkpoints, tmp_path):
    """Its tensors would fit: how parameters began is not compared, but here the model's weights went along."""
    folder, made = checkpoints
    shutil.copytree(folder / "lora", tmp_path / "lora")
    adapter(init_lora_weights="pissa")(tmp_path / "lora")
    with pytest.raises(DeltaspaceError, match="changes the model's own weights"):
        read_checkpoints([str(tmp_path / "lora")], made["lora"])


@pytest.mark.parametrize("begins", ["pissa", "olora"])
def test_what_changes_the_model_s_weights_is_noticed_whatever_it_is_called(begins, monkeypatch):
    """olora changes them in their own memory."""
    monkeypatch.setattr("deltaspace.deltas.peft_method.check_settings", lambda settings: None)
    with pytest.raises(DeltaspaceError, match="changes the model's own weights"):
        attach("peft", tiny_backbone("bert"), peft="LORA", r=2, init_lora_weights=begins)


def test_what_a_method_leaves_uninitialized_is_noticed():
    with pytest.raises(DeltaspaceError, match="no initial values"):
        attach("peft", tiny_backbone("bert"), peft="TINYLORA", init_weights=False)
    assert not torch.are_deterministic_algorithms_enabled()


ODD = {
    "orthogonal": {"peft": "LORA", "r": 2, "init_lora_weights": "orthogonal"},
    "mica": {"peft": "LORA", "r": 2, "init_lora_weights": "mica"},
    "begun anywhere": {"peft": "LORA", "r": 2, "init_lora_weights": False},
    "dora": {"peft": "LORA", "r": 2, "use_dora": True},
    "bias": {"peft": "LORA", "r": 2, "lora_bias": True},
    "tokens": {"peft": "LORA", "r": 2, "trainable_token_indices": [1, 2]},
    "tokens of a module": {"peft": "LORA", "r": 2, "trainable_token_indices": {"word_embeddings": [1]}},
    "tokens alone": {"peft": "TRAINABLE_TOKENS", "token_indices": [1, 2]},
    "qalora": {"peft": "LORA", "r": 2, "use_qalora": True, "qalora_group_size": 4},
    "osf": {"peft": "OSF", "target_svd_config": {"bert.encoder.layer.0.attention.self.query": 4}},
    "psoft": {"peft": "PSOFT", "r": 2, "ab_svd_init": "pissa_init"},
    "miss": {"peft": "MISS", "r": 2, "init_weights": "bat"},
    "adamss": {"peft": "ADAMSS"},
    "deft": {"peft": "DEFT"},
    "glora": {"peft": "GLORA"},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_settings_are_honored(name, tmp_path):
    """Decoded, merged, and loaded by peft itself, a delta computes the same; the model's weights stay."""
    backbone, task = tiny_backbone("bert"), tiny_task()
    weights = {key: weight.detach().clone() for key, weight in backbone.model.named_parameters()}
    attached = attach("peft", backbone, **ODD[name])
    vector = attached.initial + 0.1 * torch.randn(attached.initial.shape, generator=torch.Generator().manual_seed(0))
    batch = backbone.family.collate(backbone.family.encode(task, task.test))
    with torch.no_grad():
        wanted = attached.decision(vector, batch)
        assert not wanted.allclose(attached.decision(attached.initial, batch), atol=1e-6, rtol=0)
        merged = backbone.family.decision(attached.delta.merge(attached, vector), batch)
        export_delta(attached, vector, tmp_path / "out")
        loaded = PeftModel.from_pretrained(copy.deepcopy(backbone.model), tmp_path / "out").eval()
        by_peft = backbone.family.decision(loaded, batch)
    [read] = attached.delta.read(attached, [tmp_path / "out"])
    assert read.equal(vector)
    assert merged.allclose(wanted, atol=1e-5, rtol=0) and by_peft.allclose(wanted, atol=1e-5, rtol=0)
    assert all(weight.equal(weights[key]) for key, weight in backbone.model.named_parameters())
