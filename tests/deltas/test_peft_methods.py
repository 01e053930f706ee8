"""Any method of peft, APET and fine-tuning: layouts, gradients, one task at a time, refusals."""

from __future__ import annotations

import json

import pytest
import torch

from deltaspace.deltas import AttachedDelta, Peft, attach, make_delta, peft_settings
from deltaspace.errors import DeltaspaceError
from tests.tiny import tiny_backbone, tiny_task

# Settings that fit models of width 16.
METHODS = {
    "dora": {"peft": "LORA", "r": 2, "use_dora": True},
    "rslora": {"peft": "LORA", "r": 2, "use_rslora": True},
    "ia3": {"peft": "IA3"},
    "ln": {"peft": "LN_TUNING"},
    "prompt": {"peft": "PROMPT_TUNING", "num_virtual_tokens": 3},
    "p": {"peft": "P_TUNING", "num_virtual_tokens": 3, "encoder_hidden_size": 8},
    "vera": {"peft": "VERA", "r": 4},
    "fourierft": {"peft": "FOURIERFT", "n_frequency": 20},
    "oft": {"peft": "OFT", "oft_block_size": 4},
    "shira": {"peft": "SHIRA", "r": 1},
    "prefix": {"peft": "PREFIX_TUNING", "num_virtual_tokens": 3},
}
# On GPT-2's Conv1D layers, or on encoder-decoders, peft does not have them.
WITHOUT = {("oft", "gpt2"), ("shira", "gpt2"), ("prefix", "t5")}


def batch_of(backbone, size=6):
    task = tiny_task()
    return backbone.family.collate(backbone.family.encode(task, task.train[:size]))


def moved(attached):
    generator = torch.Generator().manual_seed(1)
    return attached.initial + 0.1 * torch.randn(attached.layout.size, generator=generator)


@pytest.mark.parametrize("architecture", ["bert", "sentence", "gpt2", "t5"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_peft_is_one_vector(name, architecture):
    if (name, architecture) in WITHOUT:
        pytest.skip("not a method for this model; see test_what_does_not_fit_is_refused")
    backbone = tiny_backbone(architecture)
    attached = AttachedDelta(make_delta(name, METHODS[name]), backbone, seed=3, name=name)
    assert attached.name == name
    assert len(attached.initial) == attached.layout.size > 0
    vector, batch = moved(attached).requires_grad_(), batch_of(backbone)
    attached.loss(vector, batch).backward()
    assert all(gradient.any() for gradient in attached.layout.split(vector.grad).values())
    assert not attached.loss(vector.detach(), batch).equal(attached.loss(attached.initial, batch))
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    again = AttachedDelta(make_delta(name, METHODS[name]), backbone, seed=3)
    assert again.initial.equal(attached.initial)
    assert again.loss(vector, batch).equal(attached.loss(vector, batch))  # what is drawn and not trained, too


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "bart"])
def test_virtual_tokens_are_read_in_every_way_a_family_runs_the_model(architecture):
    backbone = tiny_backbone(architecture)
    attached = AttachedDelta(Peft(peft="PROMPT_TUNING", settings={"num_virtual_tokens": 3}), backbone)
    near, far = attached.initial, attached.initial + 30 * torch.randn(attached.layout.size)
    task = tiny_task()
    batch = backbone.family.collate(backbone.family.encode(task, task.test))
    losses = [attached.evaluate(vector, batch).losses for vector in (near, far)]
    assert not losses[0].allclose(losses[1])
    if backbone.family.name in ("decoder", "encoder_decoder"):
        written = tiny_task(kind="generation")
        batch = backbone.family.collate(backbone.family.encode(written, written.test))
        with torch.no_grad():
            texts = [attached.evaluate(vector, batch).predictions for vector in (near, far)]
        assert all(len(predictions) == len(written.test) for predictions in texts)


def test_prompted_logits_are_those_of_the_text():
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(Peft(peft="PROMPT_TUNING", settings={"num_virtual_tokens": 3}), backbone)
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    assert attached.call(attached.initial, lambda model: model(input_ids=ids).logits).shape[1] == 5


def test_generating_with_a_prefix_in_the_cache():
    backbone = tiny_backbone("gpt2")
    attached = AttachedDelta(Peft(peft="PREFIX_TUNING", settings={"num_virtual_tokens": 3}), backbone)
    vector = moved(attached) * 5
    ids = torch.tensor([[5, 6, 7, 8]])
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}

    def run(model):
        written = model.generate(input_ids=ids, max_new_tokens=4, **options)
        # Greedy, without a cache of the text: the same tokens.
        text = ids
        for _ in range(4):
            logits = model(input_ids=text, attention_mask=torch.ones_like(text)).logits
            text = torch.cat([text, logits[:, -1:].argmax(-1)], dim=1)
        return written, text

    with torch.no_grad():
        written, text = attached.call(vector, run)
    assert written.equal(text[:, : written.shape[1]])


def test_what_does_not_fit_is_refused():
    t5, bert, gpt2 = tiny_backbone("t5"), tiny_backbone("bert"), tiny_backbone("gpt2")
    for backbone, settings, message in (
        (t5, METHODS["prefix"], "does not reach an encoder-decoder"),
        (gpt2, METHODS["oft"], "does not fit"),
        (bert, {"peft": "ADALORA"}, "cannot be one vector"),
        (bert, {"peft": "XLORA"}, "cannot be one vector"),
        (bert, {"peft": "POLY"}, "cannot be one vector"),
        (bert, {"peft": "SHADOW"}, "does not run"),
        (bert, {"peft": "LORA", "target_modules": ["nothing"]}, "does not fit"),
        (gpt2, {"peft": "TRAINABLE_TOKENS", "token_indices": [1, 2]}, "does not fit"),
        (bert, {"peft": "LORA", "rank": 3}, "does not fit"),
        (bert, {"peft": "NOTHING"}, "no method"),
    ):
        with pytest.raises(DeltaspaceError, match=message):
            AttachedDelta(make_delta("x", settings), backbone)


def test_settings_from_a_checkpoint_s_folder(tmp_path):
    written = {"peft_type": "LORA", "r": 3, "lora_alpha": 7, "base_model_name_or_path": "x", "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    assert peft_settings(tmp_path) == {"peft": "LORA", "settings": {"r": 3, "lora_alpha": 7}}
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(DeltaspaceError, match="is not peft's"):
        peft_settings(tmp_path)


@pytest.mark.parametrize("delta", ["finetune", "apet", "ia3"])
def test_vectors_of_several_tasks_in_one_batch(delta):
    """One after another, or in one pass: what comes out is that of each vector on its own part."""
    backbone = tiny_backbone("bert")
    settings = {"apet": {"count": 200}, "finetune": {}, "ia3": METHODS["ia3"]}[delta]
    attached = AttachedDelta(make_delta(delta, settings), backbone)
    items = backbone.family.encode(tiny_task(), tiny_task().train)[:6]
    vectors = torch.stack([attached.initial, moved(attached), 2 * moved(attached)])
    together = attached.loss(vectors, backbone.family.collate(items))
    alone = [attached.loss(v, backbone.family.collate(items[2 * i : 2 * i + 2])) for i, v in enumerate(vectors)]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_apet_adds_to_entries_of_the_weights(architecture):
    backbone = tiny_backbone(architecture)
    attached = attach("apet", backbone, count=300)
    assert attached.layout.size == 300
    assert not attached.initial.any()
    vector = moved(attached)
    parts = attached.layout.split(vector)
    dense = backbone.share()
    for name, values in parts.items():
        path = name.removesuffix(".apet.values")
        entries, layer = attached.model.get_submodule(path).apet, dense.get_submodule(path)
        weight = layer.weight.detach().clone()
        at = (entries.columns, entries.rows) if architecture == "gpt2" else (entries.rows, entries.columns)
        weight[at] += values
        layer.weight = torch.nn.Parameter(weight)
    ids = torch.tensor([[5, 6, 7, 8]])
    applied = attached.call(vector, lambda model: model(input_ids=ids).logits)
    torch.testing.assert_close(applied, dense(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(DeltaspaceError, match="too few weights"):
        attach("apet", backbone, count=10**6)


def test_finetune_takes_all_parameters_or_those_that_match():
    backbone = tiny_backbone("bert")
    whole = attach("finetune", backbone)
    assert whole.layout.size == sum(p.numel() for p in backbone.model.parameters())
    some = attach("finetune", backbone, parameters=("*.attention.*.weight",))
    assert 0 < some.layout.size < whole.layout.size
    assert all(".attention." in name for name, _ in some.layout.entries)
    batch = batch_of(backbone)
    assert whole.loss(whole.initial, batch).equal(backbone.family.loss(backbone.model, batch))
    with pytest.raises(DeltaspaceError, match="no parameter"):
        attach("finetune", backbone, parameters=("nothing",))
