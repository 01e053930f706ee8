"""Checkpoints in: what a delta reads is what it wrote, and nothing that does not fit is taken."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from deltaspace.checkpoints import drawn, export_delta, initial_for, read_checkpoints
from deltaspace.deltas import AttachedDelta, attach, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import file_digest, sealed
from tests.deltas.test_peft_methods import METHODS, WITHOUT, moved
from tests.tiny import model, tiny_backbone

OTHERS = {
    "adapter": {"bottleneck": 3},
    "lora": {"r": 2},
    "prefix": {"tokens": 4},
    "apet": {"count": 100},
    "finetune": {},
}
# Their checkpoints hold embeddings, keys or values, and not the parameters that these come from.
ONE_WAY = ("p",)


def attached_to(backbone, name, seed=5):
    method, settings = ("peft-prefix", METHODS["prefix"]) if name == "peft-prefix" else (name, {**METHODS, **OTHERS}[name])
    return AttachedDelta(make_delta(method, settings), backbone, seed=seed, name=name)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("name", [*(name for name in METHODS if name not in (*ONE_WAY, "prefix")), *OTHERS, "peft-prefix"])
def test_what_a_delta_reads_is_what_it_wrote(name, architecture, tmp_path):
    if (name.removeprefix("peft-"), architecture) in WITHOUT and name != "prefix":
        pytest.skip("not a method for this model")
    attached = attached_to(tiny_backbone(architecture), name)
    vectors = [moved(attached), attached.initial]
    folders = [tmp_path / "first", tmp_path / "second"]
    for vector, folder in zip(vectors, folders, strict=True):
        export_delta(attached, vector, folder)
    read = attached.delta.read(attached, folders)
    assert all(again.equal(vector) for again, vector in zip(read, vectors, strict=True))


@pytest.mark.parametrize("name", ONE_WAY)
def test_checkpoints_without_the_parameters_are_refused(name, tmp_path):
    attached = attached_to(tiny_backbone("bert"), name)
    export_delta(attached, moved(attached), tmp_path)
    with pytest.raises(DeltaspaceError, match="does not hold the parameters of p"):
        attached.delta.read(attached, [tmp_path])


def test_what_is_drawn_and_not_trained_must_be_the_same(tmp_path):
    backbone = tiny_backbone("bert")
    export_delta(attached_to(backbone, "apet"), attached_to(backbone, "apet").initial, tmp_path)
    other = attached_to(backbone, "apet", seed=6)
    with pytest.raises(DeltaspaceError, match="does not fit the apet"):
        other.delta.read(other, [tmp_path])


def test_a_checkpoint_of_another_base_is_read_where_that_is_allowed(tmp_path):
    attached = attached_to(tiny_backbone("bert"), "adapter")
    export_delta(attached, moved(attached), tmp_path)
    description = json.loads((tmp_path / "delta.json").read_text())
    (tmp_path / "delta.json").write_text(json.dumps(sealed({**description, "model_fingerprint": "of another"})))
    with pytest.raises(DeltaspaceError, match="belongs to another model"):
        attached.delta.read(attached, [tmp_path])
    [vector] = attached.delta.read(attached, [tmp_path], same_base=True)
    assert vector.equal(moved(attached))


def test_a_plain_model_is_read_only_where_the_delta_tuned_it(tmp_path):
    backbone = tiny_backbone("bert")
    whole = attach("finetune", backbone)
    export_delta(whole, moved(whole), tmp_path / "whole")
    export_delta(whole, whole.initial, tmp_path / "same")
    some = attach("finetune", backbone, parameters=("*.attention.*",))
    with pytest.raises(DeltaspaceError, match="another fixed part than finetune"):
        some.delta.read(some, [tmp_path / "whole"])
    [vector] = some.delta.read(some, [tmp_path / "same"])
    assert vector.equal(some.initial)
    gpt2 = attach("finetune", tiny_backbone("gpt2"))
    with pytest.raises(DeltaspaceError, match="does not fit finetune"):
        gpt2.delta.read(gpt2, [tmp_path / "whole"])
    (tmp_path / "whole" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DeltaspaceError, match="cannot be read"):
        whole.delta.read(whole, [tmp_path / "whole"])


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_checkpoints_of_peft_are_read_together(tmp_path):
    attached = attached_to(tiny_backbone("bert"), "lora")
    vectors = [moved(attached), 2 * moved(attached)]
    names = [str(tmp_path / "first"), str(tmp_path / "second")]
    for vector, name in zip(vectors, names, strict=True):
        attached.delta.as_peft(attached, vector).save_pretrained(name)
    read = read_checkpoints(names, attached)
    assert [checkpoint.name for checkpoint in read] == names
    assert all(checkpoint.parameters.equal(vector) for checkpoint, vector in zip(read, vectors, strict=True))
    assert read[0].sha256 == file_digest(tmp_path / "first" / "adapter_model.safetensors")
    with pytest.raises(DeltaspaceError, match="is no method of peft"):
        read_checkpoints(names, attached_to(attached.backbone, "adapter"))


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_initial_values_are_drawn_again_as_peft_drew_them():
    attached = attached_to(tiny_backbone("bert"), "lora")
    plm = model("bert")
    torch.manual_seed(11)
    theirs = get_peft_model(plm, LoraConfig(r=2))
    expected = torch.cat([p.detach().reshape(-1) for p in theirs.parameters() if p.requires_grad])
    assert drawn(attached, 11).equal(expected)
    assert not drawn(attached, 12).equal(expected)


def test_initial_values_of_checkpoints(tmp_path):
    attached = attached_to(tiny_backbone("bert"), "lora")
    vectors = [moved(attached), attached.initial]
    for index, vector in enumerate(vectors):
        export_delta(attached, vector, tmp_path / str(index))
    read = read_checkpoints([str(tmp_path / str(index)) for index in range(2)], attached)
    initial, told = initial_for(attached, read, None)
    assert initial.equal(torch.stack(vectors).mean(0)) and told == "the mean of 2 checkpoints"
    assert initial_for(attached, read, 11)[0].equal(drawn(attached, 11))
    with pytest.raises(DeltaspaceError, match="are not known"):
        initial_for(attached, read[:1], None)
    ia3 = attached_to(attached.backbone, "ia3")
    assert initial_for(ia3, [], None)[0].equal(ia3.initial)
