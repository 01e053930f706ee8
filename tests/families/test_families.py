"""How families read tasks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from deltaspace.backbone import load_backbone, supported
from deltaspace.errors import DeltaspaceError
from deltaspace.families import FAMILIES, Family, Inputs
from deltaspace.families.sentence_encoder import SentenceEncoder
from deltaspace.tasks import METRICS, Example, load_task, make_task
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
    assert together.predictions == [evaluation.predictions[0] for evaluation in alone]
    losses = torch.cat([evaluation.losses for evaluation in alone])
    torch.testing.assert_close(together.losses, losses, rtol=1e-4, atol=1e-4)


def test_examples_with_different_numbers_of_options_share_a_batch(backbone):
    if backbone.name in ("bert", "roberta"):
        words = (("good", "bad"), ("good", "bad", "dull"))
    else:
        words = (("good", "bad film"), ("good", "bad", "very dull plot"))
    rows = [Example("the film was", options[0], options) for options in words]
    task = make_task("choice", {"train": rows, "dev": rows, "test": rows}, source="here")
    with torch.no_grad():
        evaluation = backbone.family.evaluate(backbone.model, backbone.family.collate(backbone.family.encode(task, task.test)))
    assert all(p in options for p, options in zip(evaluation.predictions, words, strict=True))
    assert torch.isfinite(evaluation.losses).all()


def test_long_inputs_are_cut_and_the_prompt_stays(backbone):
    task = tiny_task()
    long = Example("the film was good " * 50, "happy")
    [item] = backbone.family.encode(task, [long])
    assert len(item.input_ids) <= backbone.family.max_length
    if backbone.family.name == "masked_encoder":
        assert item.input_ids[item.mask_position] == backbone.tokenizer.mask_token_id


def evaluated(backbone, *tasks):
    """The evaluation of all test examples in one batch."""
    items = [item for task in tasks for item in backbone.family.encode(task, task.test)]
    with torch.no_grad():
        return backbone.family.evaluate(backbone.model, backbone.family.collate(items))


def regression(target):
    """Three inputs, each with the same target; the words that a model reads are in the tiny vocabulary."""
    rows = [Example(f"the film was {word}", target) for word in ("good", "bad", "dull plot")]
    splits = {"train": rows, "dev": rows, "test": rows}
    return make_task("stars", splits, source="here", kind="regression", labels={"-1": "bad", "0.5": "fine", "4": "great"})


def test_a_regression_is_the_mean_of_the_candidates_weighted_by_likelihood(backbone):
    # The loss of a target is minus its log-likelihood among the candidates, so the losses of all targets give the weights.
    of_targets = {target: evaluated(backbone, regression(target)) for target in ("-1", "0.5", "4")}
    likelihoods = {target: torch.exp(-evaluation.losses.double()) for target, evaluation in of_targets.items()}
    torch.testing.assert_close(sum(likelihoods.values()), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5)
    means = sum(float(target) * shares for target, shares in likelihoods.items())
    for evaluation in of_targets.values():
        assert [float(text) for text in evaluation.predictions] == pytest.approx(means.tolist(), abs=1e-5)
    assert not set(of_targets["4"].predictions) & {"-1", "0.5", "4"}


def test_a_regression_with_options_is_the_mean_of_each_examples_own(backbone):
    if backbone.family.name == "masked_encoder":
        pytest.skip("no digit is a word of the tiny vocabulary")
    options = (("1", "2"), ("7", "8", "9", "12"))
    rows = [Example("the film was", given[0], given) for given in options]
    splits = {"train": rows, "dev": rows, "test": rows}
    task = make_task("numbers", splits, source="here", kind="regression", labels={"1": "bad", "7": "good"})
    # The tiny tokenizer knows no digits, so that all options of an example are equally likely.
    assert [float(text) for text in evaluated(backbone, task).predictions] == pytest.approx([1.5, 9.0], abs=1e-5)


def test_regressions_and_classifications_share_a_batch(backbone):
    numbers, labels = regression("4"), tiny_task()
    together = evaluated(backbone, numbers, labels)
    assert [float(text) for text in together.predictions[:3]] == pytest.approx(
        [float(text) for text in evaluated(backbone, numbers).predictions], abs=1e-4
    )
    assert together.predictions[3:] == evaluated(backbone, labels).predictions


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
        cat, guitar, again = loaded.family.embed(loaded.model, Inputs(inputs["input_ids"], inputs["attention_mask"]))
    assert cat @ again > 0.6 > 0.3 > cat @ guitar


@pytest.mark.slow
def test_a_real_regression_is_scored_by_means(shared_tasks):
    backbone = load_backbone("demo", device="cpu")
    family, task = backbone.family, load_task(str(shared_tasks / "glue-stsb"))
    items = sorted(family.encode(task, task.test), key=lambda item: len(item.input_ids))[:200]
    batch = family.collate(items)
    targets = [item.choice.candidates[item.choice.gold] for item in items]
    with torch.no_grad():
        evaluation = family.evaluate(backbone.model, batch)
        cosines = torch.einsum("bh,bch->bc", family.embed(backbone.model, batch.inputs), batch.embeddings)
    candidates = torch.tensor([float(label) for label in task.labels], dtype=torch.float64)
    likelihoods = (20 * cosines.double()).softmax(1)
    means = (likelihoods @ candidates).numpy()
    score = METRICS[task.metric].score(evaluation.predictions, targets)
    assert score == pytest.approx(100 * np.corrcoef(means, [float(target) for target in targets])[0, 1], abs=1e-3)
    likeliest = [items[row].choice.candidates[index] for row, index in enumerate(cosines.argmax(1).tolist())]
    assert score != pytest.approx(METRICS[task.metric].score(likeliest, targets), abs=0.5)
    assert len(set(evaluation.predictions)) > len(set(likeliest))


class Shouting(SentenceEncoder):
    """A family of somebody else's, in whose texts case is lost."""

    name = "shouting"
    models = "models that shout"
    precedence = Family.precedence

    @staticmethod
    def recognizes(config, folder):
        return getattr(config, "shouts", False)

    def prompted(self, task, text, default="{input}", **fields):
        return super().prompted(task, text.upper(), default, **fields)


def test_a_family_is_added_by_registering_it(tmp_path, monkeypatch):
    monkeypatch.setattr(FAMILIES, "_things", dict(FAMILIES))
    FAMILIES.register(Shouting)
    folder = save_tiny("sentence", tmp_path / "model")
    assert load_backbone(str(folder), device="cpu").family.name == "sentence_encoder"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "shouts": True}))
    loaded = load_backbone(str(folder), device="cpu")
    assert isinstance(loaded.family, Shouting)
    [item] = loaded.family.encode(tiny_task(), [Example("good", "happy")])
    assert item.input_ids[1] == loaded.tokenizer.unk_token_id
    assert "models that shout" in supported()
    with pytest.raises(DeltaspaceError, match=r"no family 'quiet'(.|\n)*shouting"):
        load_backbone(str(folder), family="quiet", device="cpu")


@pytest.mark.parametrize(
    "settings", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_a_sentence_encoder_pools_as_its_folder_says(tmp_path, settings):
    folder = save_tiny("sentence", tmp_path / "model")
    inputs = Inputs(torch.tensor([[1, 6, 7, 2]]), torch.ones(1, 4, dtype=torch.long))
    mean = load_backbone(str(folder), device="cpu")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    first = load_backbone(str(folder), device="cpu")
    hidden = first.model(**inputs._asdict()).last_hidden_state[0]
    assert first.family.embed(first.model, inputs)[0].allclose(hidden[0] / hidden[0].norm())
    assert mean.family.embed(mean.model, inputs)[0].allclose(hidden.mean(0) / hidden.mean(0).norm())
    assert mean.fingerprint != first.fingerprint


def test_a_pooling_that_is_not_known_is_refused(tmp_path):
    folder = save_tiny("sentence", tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(DeltaspaceError, match="pooling is not supported"):
        load_backbone(str(folder), device="cpu")
