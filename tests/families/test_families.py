"""How families read tasks."""

from __future__ import annotations

import json

import pytest
import torch

from deltaspace.backbone import load_backbone
from deltaspace.errors import DeltaspaceError
from deltaspace.tasks import Example, make_task
from tests.tiny import FAMILY, save_tiny, tiny_task


def test_a_folder_loads_into_its_family(backbone, tmp_path):
    folder = save_tiny(backbone.name, tmp_path / "model")
    loaded = load_backbone(str(folder), max_length=32, device="cpu")
    assert loaded.family.name == FAMILY[backbone.name]
    assert len(loaded.fingerprint) == 64
    task = tiny_task()
    batches = [b.family.collate(b.family.encode(task, task.dev)) for b in (backbone, loaded)]
    here, there = backbone.family.loss(backbone.model, batches[0]), loaded.family.loss(loaded.model, batches[1])
    torch.testing.assert_close(here, there)


def test_padding_does_not_change_an_evaluation(backbone):
    task = tiny_task()
    items = backbone.family.encode(task, task.test)
    with torch.no_grad():
        together = backbone.family.evaluate(backbone.model, backbone.family.collate(items))
        alone = [backbone.family.evaluate(backbone.model, backbone.family.collate([item])) for item in items]
    assert together.predictions == [one.predictions[0] for one in alone]
    torch.testing.assert_close(together.losses, torch.cat([one.losses for one in alone]), rtol=1e-4, atol=1e-4)


def test_examples_with_different_numbers_of_options_share_a_batch(backbone):
    if backbone.name in ("bert", "roberta"):
        words = (("good", "bad"), ("good", "bad", "dull"))
    else:
        words = (("good", "bad film"), ("good", "bad", "very dull plot"))
    rows = [Example("the film was", options[0], options) for options in words]
    task = make_task("choice", {"train": rows, "dev": rows, "test": rows}, source="here")
    with torch.no_grad():
        found = backbone.family.evaluate(backbone.model, backbone.family.collate(backbone.family.encode(task, task.test)))
    assert all(p in options for p, options in zip(found.predictions, words, strict=True))
    assert torch.isfinite(found.losses).all()


def test_long_inputs_are_cut_and_the_prompt_stays(backbone):
    task = tiny_task()
    long = Example("the film was good " * 50, "happy")
    [item] = backbone.family.encode(task, [long])
    assert len(item["input_ids"]) <= backbone.family.max_length
    if backbone.family.name == "masked_encoder":
        assert item["input_ids"][item["position"]] == backbone.tokenizer.mask_token_id


def test_encoders_refuse_to_write(backbone):
    if backbone.family.name in ("encoder_decoder", "decoder"):
        pytest.skip("this family writes")
    with pytest.raises(DeltaspaceError, match="asks for generated text"):
        backbone.family.check(tiny_task(kind="qa"))


@pytest.mark.slow
def test_the_demo_model_is_the_official_one():
    loaded = load_backbone("demo", device="cpu")
    assert loaded.family.name == "sentence_encoder"
    inputs = loaded.tokenizer(
        ["a cat sits outside", "a man plays guitar", "a cat is out of doors"], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        one, two, three = loaded.family.embed(loaded.model, dict(inputs))
    assert one @ three > 0.6 > 0.3 > one @ two


@pytest.mark.parametrize(
    "settings", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_a_sentence_encoder_pools_as_its_folder_says(tmp_path, settings):
    folder = save_tiny("sentence", tmp_path / "model")
    inputs = {"input_ids": torch.tensor([[1, 6, 7, 2]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    mean = load_backbone(str(folder), device="cpu")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    first = load_backbone(str(folder), device="cpu")
    hidden = first.model(**inputs).last_hidden_state[0]
    assert first.family.embed(first.model, inputs)[0].allclose(hidden[0] / hidden[0].norm())
    assert mean.family.embed(mean.model, inputs)[0].allclose(hidden.mean(0) / hidden.mean(0).norm())
    assert mean.fingerprint != first.fingerprint


def test_a_pooling_that_is_not_known_is_refused(tmp_path):
    folder = save_tiny("sentence", tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(DeltaspaceError, match="pooling is not supported"):
        load_backbone(str(folder), device="cpu")
