"""Checkpoints of any kind, told apart by their files, load to the same function."""

from __future__ import annotations

import json

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from deltaspace.checkpoints import base_of, export_delta, load_tuned
from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.errors import DeltaspaceError
from tests.checkpoints.test_read import OTHERS
from tests.deltas.test_peft_methods import METHODS, moved
from tests.tiny import model, save_tiny, tiny_backbone

IDS = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 10, 2, 0, 0]])


def logits(attached, vector):
    return attached.call(vector, lambda m: m(input_ids=IDS, attention_mask=(IDS != 0).long()).logits)


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
@pytest.mark.parametrize("name", [*OTHERS, "ia3", "dora", "prompt", "p", "vera"])
def test_the_same_function(name, tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta(name, {**METHODS, **OTHERS}[name]), backbone, name=name)
    vector = moved(attached)
    export_delta(attached, vector, tmp_path)
    again, parameters = load_tuned(tmp_path, backbone)
    torch.testing.assert_close(logits(again, parameters), logits(attached, vector), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_a_prefix_behind_a_network_is_read_as_the_prefix_that_it_comes_to(tmp_path):
    backbone = tiny_backbone("gpt2")
    settings = {"peft": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": True, "encoder_hidden_size": 8}
    attached = AttachedDelta(make_delta("peft", settings), backbone)
    vector = moved(attached)
    export_delta(attached, vector, tmp_path)
    again, parameters = load_tuned(tmp_path, backbone)
    assert len(parameters) < len(vector)
    torch.testing.assert_close(logits(again, parameters), logits(attached, vector), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_prompts_that_do_not_fit_are_refused(tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta("p", METHODS["p"]), backbone, name="p")
    export_delta(attached, moved(attached), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    whole = load_file(path)["prompt_embeddings"]
    for wrong in ({"prompt_embeddings": whole[1:].clone()}, {"others": whole}, {"prompt_embeddings": whole * float("nan")}):
        save_file(wrong, path)
        with pytest.raises(DeltaspaceError, match="does not fit prompt_tuning"):
            load_tuned(tmp_path, backbone)
    save_file({"prompt_embeddings": whole}, path)
    with pytest.raises(DeltaspaceError, match="of another model"):
        load_tuned(tmp_path, tiny_backbone("gpt2"))
    assert load_tuned(tmp_path, backbone, same_base=True)[1].numel() == whole.numel()


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_which_model_it_is_of(tmp_path):
    backbone = tiny_backbone("bert")
    for name in ("lora", "adapter", "finetune"):
        attached = AttachedDelta(make_delta(name, OTHERS[name]), backbone, name=name)
        export_delta(attached, moved(attached), tmp_path / name)
    assert base_of(tmp_path / "lora") == base_of(tmp_path / "adapter") == "bert"
    with pytest.raises(DeltaspaceError, match=r"finetune does not say which model(.|\n)*--model"):
        base_of(tmp_path / "finetune")


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DeltaspaceError, match=r"is no checkpoint(.|\n)*notes.txt(.|\n)*adapter_config.json"):
        load_tuned(tmp_path, tiny_backbone("bert"))
    with pytest.raises(DeltaspaceError, match="there is no folder"):
        base_of(tmp_path / "nothing" / "there")


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_a_method_that_no_vector_says_is_refused(tmp_path):
    from peft import AdaLoraConfig

    get_peft_model(model("bert"), AdaLoraConfig(total_step=10, target_modules=["query"])).save_pretrained(tmp_path)
    with pytest.raises(DeltaspaceError, match="changes its ranks"):
        load_tuned(tmp_path, tiny_backbone("bert"), same_base=True)


def test_a_fine_tuned_model_of_another_shape_is_refused(tmp_path):
    save_tiny("gpt2", tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "gpt2"
    with pytest.raises(DeltaspaceError, match="does not fit finetune"):
        load_tuned(tmp_path / "model", tiny_backbone("bert"))
