"""The benchmarks work with the package as it is: each runs once at tiny sizes, in which its numbers mean nothing."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from pathlib import Path

import benchmarks
import pytest
import torch
from benchmarks import (
    compress,
    convert,
    decoders,
    landscape,
    measuring,
    models,
    native,
    native_decoder,
    products,
    report,
    run,
    serving,
    text2text,
)
from safetensors.torch import load_file

from deltaspace.checkpoints import Conversion
from deltaspace.study import load_recipe, read_curves, read_landscapes, read_scores, read_subspace
from deltaspace.study.folder import Folder
from deltaspace.study.resources import Resources
from deltaspace.training import Training
from tests.tiny import save_tiny, tiny_backbone, tiny_task, write_task

TINY_RUNS = {
    "approximation-single": lambda: run.approximation_single(models.TINY, 1),
    "approximation-multi": lambda: run.approximation_multi(models.TINY, 1),
    "approximation-memory": lambda: run.approximation_memory(models.TINY),
    "aligned-step": lambda: run.aligned_step(models.TINY, 1),
    "optimization-step": lambda: run.optimization_step(models.TINY, 1),
    "joint-svd": lambda: run.joint_svd(3, (5, 7), 2),
    "mixed-batch": lambda: run.mixed_batch(models.make_sentence_encoder(), count=3, length=5, dim=4, rounds=1),
    "decoder-step": lambda: decoders.decoder_step(models.make_llama(), models.TINY, 1),
    "decoder-scoring": lambda: decoders.decoder_scoring(models.make_llama(), models.TINY, 1),
    "decoder-generation": lambda: decoders.decoder_generation(models.make_llama(), models.TINY, 1),
    "bf16-step": lambda: products.bf16_step(models.make_sentence_encoder(), 4, 5, 1),
    "bf16-step-lm": lambda: products.bf16_step_lm(models.make_llama(), 4, 5, 1),
}


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(benchmarks.__path__)])
def test_every_module_is_imported(name):
    assert importlib.import_module(f"benchmarks.{name}").__doc__


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("name", run.BENCHMARKS)
def test_run_measures_something(name):
    results = TINY_RUNS[name]()
    assert results[0]["name"] == name
    for result in results:
        assert math.isfinite(result["value"]) and result["value"] > 0
        assert result.keys() >= {"name", "value", "goal"}


def test_steps_leave_the_solutions_and_the_plm_as_they_are(tmp_path):
    sizes = models.TINY
    attached = models.attach_deltas(sizes, sizes.tokens)
    plm = attached[0].backbone
    batch = models.random_batch(plm, sizes)
    assert batch.inputs.input_ids.shape == (sizes.batch, sizes.input_tokens)
    assert batch.labels.shape == (sizes.batch, sizes.target_tokens)
    sources = run.random_sources(str(tmp_path), attached, sizes.solutions)
    drawn = [source.displacements.take([0]) for source in sources]
    weights = {name: tensor.clone() for name, tensor in plm.model.state_dict().items()}
    run.approximation_step(attached, sources, batch, sizes.dim, sizes.batch_tasks)()
    for delta, source in zip(attached, sources, strict=True):
        run.plain_step(delta, batch)()
        run.decoded_step(delta, source, batch, sizes.dim)()
    for source, before in zip(sources, drawn, strict=True):
        torch.testing.assert_close(source.displacements.take([0]), before)
    torch.testing.assert_close(dict(plm.model.state_dict()), weights)


def test_the_floor_gives_every_parameter_of_the_delta_a_gradient():
    sizes = models.TINY
    for attached in models.attach_deltas(sizes, sizes.tokens):
        run.plain_step(attached, models.random_batch(attached.backbone, sizes))()
        with_gradient = {name for name, parameter in attached.model.named_parameters() if parameter.grad is not None}
        assert with_gradient == {name for name, _ in attached.layout.entries}


def test_medians_leave_out_the_first_round():
    spent = {"slow": iter([9.0, 3.0, 1.0, 2.0]), "fast": iter([8.0, 0.5, 0.5, 0.5])}
    assert measuring.medians(spent, 3, next) == {"slow": 2.0, "fast": 0.5}
    assert measuring.conditions().keys() == {"machine", "versions"}


def test_compress_gives_the_loras_back(study, tmp_path):
    attached, folders = compress.checkpoints([study], 3, tmp_path / "loras")
    assert len(folders) == 3
    # As many components as LoRAs lose nothing; fewer lose something.
    row = compress.measure("deltaspace", attached, folders, 3, tmp_path / "three")
    assert row["error"] < 1e-3 and row["bytes"] > 0
    assert 1e-3 < compress.measure("deltaspace", attached, folders, 1, tmp_path / "one")["error"] < 1
    assert compress.measure("deltaspace, codes by layer", attached, folders, 2, tmp_path / "layers")["error"] < 1e-2
    names = compress.peft_names(attached, attached.initial)
    assert names.keys() == load_file(next(iter(folders.values())) / "adapter_model.safetensors").keys()


def test_landscape_samples_in_the_passes_of_the_floor(study):
    recipe = load_recipe(study / "recipe.yaml")
    resources, subspace = Resources(recipe, Folder(study)), read_subspace(study, seed=0)
    for attached in resources.deltas(0):
        plane = landscape.plane(subspace, 2)
        steps, batches = landscape.sampling_steps(subspace, attached, resources.tasks["three"], plane, examples=6)
        seconds = measuring.medians(steps, 1)
        assert seconds.keys() == {"floor", "fp32", "bf16"}
        assert len(batches) == 1 and len(batches[0].items) % 6 == 0


@pytest.mark.parametrize("method", native.METHODS)
def test_native_trains_every_method(study, method):
    recipe = load_recipe(study / "recipe.yaml")
    task = Resources(recipe, Folder(study)).tasks["one"]
    result = native.train(method, 0.01, 2, task, recipe, seed=0)
    assert result["steps"] == 2 and 0 <= result["score"] <= 100 and result["parameters"] > 0


# What a frozen model of a few numbers cannot be taught, to write, is left to LoRA.
@pytest.mark.parametrize(
    ("name", "kind"),
    [("adapter", "classification"), ("lora", "classification"), ("prefix", "classification"), ("lora", "generation")],
)
@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_native_trains_every_method_of_a_decoder(name, kind, tmp_path):
    save_tiny("llama", tmp_path / "model")
    for each in ("one", "two"):
        write_task(tmp_path / each)
    recipe = {
        "model": str(tmp_path / "model"),
        "deltas": ["adapter", {"lora": {"r": 2}}, {"prefix": {"tokens": 2}}],
        "tasks": {"source": [{"from": "one", "kind": kind}], "unseen": ["two"]},
        "dim": 1,
        "train": {"steps": 30, "evaluate_every": 15, "batch_size": 8, "lr": 0.1},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    resources = Resources(load_recipe(tmp_path / "recipe.yaml"), Folder(tmp_path / "study"))
    attached = resources.attached(name, 0)
    result = native_decoder.train(attached.delta, 0.1, resources.tasks["one"], resources, seed=0)
    assert result["steps"] == 30 and result["parameters"] == attached.layout.size
    assert 0 <= result["score"] <= 100 and result["dev"] > 0


def test_native_ranks_a_decoders_candidates_as_the_study_does():
    plm, task = tiny_backbone("llama"), tiny_task()
    items = plm.family.encode(task, task.test)
    with torch.no_grad():
        alone = [native_decoder.answer(plm.model, item, 1, plm.tokenizer) for item in items]
        assert alone == plm.family.evaluate(plm.model, plm.family.collate(items)).predictions


def test_made_up_study_can_be_read(tmp_path):
    made = report.made_up_study(tmp_path / "study", tasks=2, dim=3, cells=4)
    counts = dict.fromkeys(("zero_shot", "independent", "optimized", "transferred"), 0)
    for row in read_scores(made):
        counts[row.stage] += 1
    assert counts == {"zero_shot": 20, "independent": 20, "optimized": 10, "transferred": 40}
    assert len(read_curves(made)) == 30
    subspace = read_subspace(made)
    assert len(subspace.vectors) == 10 and subspace.codes.shape == (5, 2, 3)
    landscapes = read_landscapes(made)
    assert len(landscapes) == 4
    assert all(landscape.progress == 1 and len(landscape.marks) == 5 for landscape in landscapes.values())


def test_text2text_makes_a_model_and_a_recipe(tmp_path):
    texts = [f"the film number {number} was quite good and its plot was poor" for number in range(60)]
    model, tokenizer, training = text2text.pretrain(texts, minutes=0.01)
    assert training["steps"] >= 1
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer("the film")["input_ids"][-1] == model.config.eos_token_id
    small = load_recipe(text2text.write_recipe(tmp_path / "small.yaml", tmp_path / "model", whole=False))
    assert small.source_tasks == list(text2text.SOURCE) and small.dim == (20,)
    whole = load_recipe(text2text.write_recipe(tmp_path / "whole.yaml", tmp_path / "model", whole=True))
    assert len(whole.tasks.source) == 32 and Path(whole.tasks.folder or "").is_absolute()


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_serving_is_measured():
    sizes = {"tasks": 5, "dim": 4, "batch": 3, "length": 5, "rounds": 2, "rank": 2}
    result = serving.measure(models.make_sentence_encoder(), **sizes)
    assert result["largest_difference_from_peft"] < 1e-4
    assert all(math.isfinite(value) and value > 0 for value in result["throughput"].values())


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
@pytest.mark.parametrize("name", ["prefix", "loha"])
def test_conversion_is_measured(name):
    short = {"steps": 2, "lr": 0.01, "evaluate_every": 1, "batch_size": 4}
    lora = {"r": 2, "target_modules": ("query", "value", "dense")}
    setup = convert.Setup(("tiny",), (24, 8, 8), 32, lora, Training(**short), Conversion(**short))
    row = convert.measure(tiny_backbone("sentence"), convert.limited(tiny_task(), setup.limits), name, setup)
    assert json.loads(json.dumps(convert.jsonable(setup)))["train"]["steps"] == 2
    assert row["after"]["missed"] <= row["before"]["missed"] and row["test_examples"] == 8
    assert ("cannot" in row["peft"]) == (name == "prefix")
