"""Checkpoints out: what they load to is what was decoded, to the last bit where peft loads them."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import PeftModel

from deltaspace.checkpoints import export_delta, load_delta
from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.deltas.checkpoint import UnmergeableError
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import sealed
from tests.deltas.test_peft_methods import METHODS, WITHOUT, moved
from tests.tiny import model, tiny_backbone

PEFT_BACKED = {**METHODS, "lora": {"r": 2}}
MERGED = ("lora", "dora", "rslora", "ia3", "vera", "fourierft", "oft", "shira", "ln")


def inputs_of(architecture):
    ids = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 10, 2, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    return {**inputs, "decoder_input_ids": ids[:, :3]} if architecture == "t5" else inputs


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("name", PEFT_BACKED)
def test_peft_loads_what_was_exported_to_the_same_logits(name, architecture, tmp_path):
    if (name, architecture) in WITHOUT:
        pytest.skip("not a method for this model")
    backbone, inputs = tiny_backbone(architecture), inputs_of(architecture)
    attached = AttachedDelta(make_delta(name, PEFT_BACKED[name]), backbone, seed=5, name=name)
    vector = moved(attached)
    ours = attached.call(vector, lambda m: m(**inputs).logits)
    export_delta(attached, vector, tmp_path, provenance={"task": "tiny"})
    loaded = PeftModel.from_pretrained(model(architecture).eval(), tmp_path)
    with torch.no_grad():
        theirs = loaded(**inputs).logits
    # peft gives the virtual tokens' logits, too.
    assert (ours - theirs[:, -ours.shape[1] :]).abs().max() == 0
    assert ours.equal(attached.call(vector, lambda m: m(**inputs).logits))
    assert not ours.equal(attached.call(attached.initial, lambda m: m(**inputs).logits))
    assert "tiny" in (tmp_path / "README.md").read_text()
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("name", [*MERGED, "apet", "finetune"])
def test_a_merged_model_is_plain_and_does_the_same(name, architecture, tmp_path):
    if (name, architecture) in WITHOUT:
        pytest.skip("not a method for this model")
    backbone, inputs = tiny_backbone(architecture), inputs_of(architecture)
    settings = {**PEFT_BACKED, "apet": {"count": 100}, "finetune": {}}[name]
    attached = AttachedDelta(make_delta(name, settings), backbone, name=name)
    vector, before = moved(attached), {key: p.clone() for key, p in backbone.model.state_dict().items()}
    applied = attached.call(vector, lambda m: m(**inputs).logits)
    export_delta(attached, vector, tmp_path, merge=True)
    with torch.no_grad():
        plain = type(backbone.model).from_pretrained(tmp_path).eval()(**inputs).logits
    torch.testing.assert_close(applied, plain, rtol=1e-3, atol=1e-4)
    assert all(tensor.equal(before[key]) for key, tensor in backbone.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "settings"), [("adapter", {"bottleneck": 3}), ("prefix", {"tokens": 4}), ("apet", {"count": 50})]
)
def test_deltas_without_a_library_are_loaded_to_the_same_logits(name, settings, tmp_path):
    backbone, inputs = tiny_backbone("bert"), inputs_of("bert")
    attached = AttachedDelta(make_delta(name, settings), backbone, seed=5)
    vector = moved(attached)
    export_delta(attached, vector, tmp_path)
    again, parameters = load_delta(tmp_path, tiny_backbone("bert"))
    assert parameters.equal(vector)
    before, after = (a.call(vector, lambda m: m(**inputs).logits) for a in (attached, again))
    assert before.equal(after)
    with pytest.raises(DeltaspaceError, match="belongs to another model"):
        load_delta(tmp_path, tiny_backbone("gpt2"))
    (tmp_path / "delta.safetensors").write_bytes(b"damaged")
    with pytest.raises(DeltaspaceError, match="damaged"):
        load_delta(tmp_path, backbone)


@pytest.mark.parametrize("name", ["adapter", "prefix", "prompt"])
def test_what_is_no_matrix_is_not_merged(name, tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta(name, METHODS.get(name, {})), backbone, name=name) if name == "prompt" else None
    attached = attached or AttachedDelta(make_delta(name, {}), backbone)
    with pytest.raises(DeltaspaceError, match="cannot be merged"):
        export_delta(attached, attached.initial, tmp_path / "merged", merge=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"peft": "LILY", "target_modules": ["q_proj"]}, "not supported for Lily"),
        ({"peft": "BEFT", "target_modules": ["q_proj"]}, "no bias"),
        ({"peft": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1}, "peft cannot merge its method"),
    ],
)
def test_what_peft_cannot_merge_is_told_with_its_reason(settings, why):
    attached = AttachedDelta(make_delta("peft", settings), tiny_backbone("llama"), name="mine")
    with pytest.raises(UnmergeableError, match=f"mine cannot be merged(.|\n)*{why}"):
        attached.delta.merge(attached, attached.initial)


def test_settings_that_this_version_lacks_are_named(tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta("adapter", {}), backbone)
    export_delta(attached, attached.initial, tmp_path)
    description = json.loads((tmp_path / "delta.json").read_text())
    description["delta"]["gears"] = 4
    (tmp_path / "delta.json").write_text(json.dumps(sealed(description)))
    with pytest.raises(DeltaspaceError, match="the delta adapter cannot be made"):
        load_delta(tmp_path, backbone)


def test_a_description_that_lacks_an_entry_is_damaged(tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta("adapter", {}), backbone)
    export_delta(attached, attached.initial, tmp_path)
    description = json.loads((tmp_path / "delta.json").read_text())
    del description["seed"]
    (tmp_path / "delta.json").write_text(json.dumps(sealed(description)))
    with pytest.raises(DeltaspaceError, match=r"delta\.json is damaged(.|\n)*no seed"):
        load_delta(tmp_path, backbone)


def test_a_newer_format_is_refused(tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta("adapter", {}), backbone)
    export_delta(attached, attached.initial, tmp_path)
    text = (tmp_path / "delta.json").read_text()
    (tmp_path / "delta.json").write_text(text.replace("deltaspace.delta/1", "deltaspace.delta/9"))
    with pytest.raises(DeltaspaceError, match="newer deltaspace"):
        load_delta(tmp_path, backbone)


def test_loading_does_not_touch_the_backbone():
    backbone = tiny_backbone("bert")
    before = copy.deepcopy(backbone.model.state_dict())
    attached = AttachedDelta(make_delta("finetune", {}), backbone)
    attached.flat_parameters().fill_(1.0)
    assert all(tensor.equal(before[key]) for key, tensor in backbone.model.state_dict().items())
