"""The library as Python people expect it: wrong values told in one way, models in memory, peft's configurations, short reprs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig
from pydantic import BaseModel, ValidationError

import deltaspace as ds
from deltaspace.checkpoints import Conversion
from deltaspace.deltas import DELTAS
from deltaspace.families.prompting import Prompting
from deltaspace.landscape.sampling import Sampling
from deltaspace.settings import Settings
from deltaspace.study import Recipe, SliceSpec, Sweep
from deltaspace.subspace import PROJECTIONS, Approximation, Optimization, Translation
from deltaspace.subspace.agreement import Probing
from deltaspace.tasks import Limits, TaskSpec, few_shot
from deltaspace.tasks.spec import Columns, Splits
from deltaspace.training import Training
from tests.tiny import model, save_tiny, tiny_backbone, tiny_task, tiny_tokenizer

SHORT = {"steps": 2, "lr": 0.01, "evaluate_every": 2}
PUBLIC = (
    *(Training, Approximation, Optimization, Translation, Conversion, Probing, Sampling, SliceSpec, Prompting),
    *(Limits, TaskSpec, Columns, Splits, Recipe, Sweep),
)


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone("bert")


def test_wrong_settings_are_told_with_what_is_expected():
    with pytest.raises(ds.DeltaspaceError) as caught:
        Training(steps=-1, lr=0.0)
    error = caught.value
    assert error.what == "Training has wrong settings"
    assert "steps: should be greater than or equal to 1 (found -1)" in str(error) and "lr: should be greater than 0" in str(error)
    assert error.expected == "steps: largest number of steps; lr: peak learning rate (Adam)"
    with pytest.raises(
        ds.DeltaspaceError, match=r"stepps: unknown key; did you mean 'steps'(.|\n)*expected: steps, lr, batch_size"
    ):
        Training(stepps=3)
    with pytest.raises(ds.DeltaspaceError, match="takes its settings by name"):
        Training(10)


@pytest.mark.parametrize("kind", [*PUBLIC, *DELTAS.values(), *PROJECTIONS.values()], ids=lambda kind: kind.__name__)
def test_no_settings_class_lets_pydantic_speak(kind):
    for wrong in ({"a setting that nobody has": 1}, dict.fromkeys(kind.model_fields, object())):
        if kind is DELTAS["peft"] and "peft" not in wrong:
            continue  # what it does not know is peft's
        with pytest.raises(ds.DeltaspaceError, match=f"^{kind.__name__} has wrong settings\n  found: "):
            kind(**wrong)


def test_every_settings_class_is_one_of_them():
    """What a program can make of ours and is pydantic's tells its mistakes so."""
    public = [getattr(ds, name) for name in ds.__all__]
    models = [thing for thing in public if inspect.isclass(thing) and issubclass(thing, BaseModel)]
    assert models and all(issubclass(thing, Settings) for thing in models)


def test_settings_that_do_not_go_together_or_are_no_rates():
    with pytest.raises(ds.DeltaspaceError, match=r"factors\.0: should be greater than 0 \(found 0\.0\)"):
        Optimization(steps=2, factors=[0.0])
    with pytest.raises(ds.DeltaspaceError, match="AlignedDirections has wrong settings\n  found: far is at least near"):
        PROJECTIONS["aligned"](near=2.0)


def test_files_are_still_told_with_all_their_mistakes():
    with pytest.raises(ValidationError, match="2 validation errors"):
        Training.model_validate({"steps": 0, "lr": -1})


def test_a_training_asks_for_its_steps_alone():
    assert Training(steps=3).lr == 2e-3 and Optimization(steps=3).lr == 1e-2


def test_wrong_values_of_functions(backbone, tmp_path):
    lora, task = ds.attach("lora", backbone, r=2), tiny_task()
    splits = {split: task.split(split) for split in ("train", "dev", "test")}
    space = ds.approximate([lora], [], [], dim=2, projection="gaussian")
    calls = {
        "at least one dimension": lambda: ds.approximate([lora], [], [], dim=0, projection="gaussian"),
        "no projection 'svdd'": lambda: ds.approximate([lora], [], [], dim=2, projection="svdd"),
        "no delta 'lorra'": lambda: ds.attach("lorra", backbone),
        "the delta lora cannot be made": lambda: ds.attach("lora", backbone, r=0),
        "modules_to_save=['cls']": lambda: ds.attach(LoraConfig(r=2, modules_to_save=["cls"]), backbone),
        "leave init_lora_weights out of the LoraConfig": lambda: ds.attach(LoraConfig(init_lora_weights="pissa"), backbone),
        "ADALORA: it changes its ranks": lambda: ds.attach(AdaLoraConfig(total_step=2), backbone),
        "no such folder": lambda: ds.read_scores("nowhere"),
        "no device 'gpu'": lambda: ds.load_backbone("demo", device="gpu"),
        "cut to no tokens": lambda: ds.load_backbone("demo", max_length=-1),
        "parameters of lora do not fit": lambda: ds.score(lora, task, lora.initial[:3]),
        "a vector of the subspace does not fit": lambda: ds.transfer(space, torch.ones(3), lora, task),
        "the vector for tiny is not finite": lambda: ds.transfer(space, torch.full((2,), torch.nan), lora, task),
        "a displacement does not fit": lambda: space.entry("lora").encode(torch.ones(1, 3)),
        "no such neighbors": lambda: space.vectors.nearest(torch.ones(3)),
        "count=0": lambda: space.vectors.nearest(torch.ones(2), count=0),
        "vectors only become longer": lambda: space.vectors.padded(-1),
        "dim=-1": lambda: ds.Vectors(-1),
        "a delta's parameters do not fit": lambda: ds.export_delta(lora, lora.initial[:3], tmp_path / "out"),
        "is made from solutions": lambda: ds.approximate([lora], [], [], dim=2, projection="svd"),
        "wrong limits": lambda: ds.make_task("x", splits, source="s", limits={"train": -1}),
        "few-shot needs examples": lambda: few_shot(task, 0),
        "max_length=-4": lambda: ds.make_backbone("x", backbone.model, backbone.tokenizer, family="decoder", max_length=-4),
        "no grid '1:0:1'": lambda: ds.landscape.Grid(1.0, 0.0, 1),
        "of different spaces": lambda: ds.landscape.Slice.through({"a": torch.ones(2), "b": torch.ones(3)}),
        "kept_bytes is no number of bytes": lambda: ds.SubspaceModel(space, backbone, kept_bytes=-1),
    }
    for message, call in calls.items():
        with pytest.raises(ds.DeltaspaceError) as caught:
            call()
        assert message in str(caught.value), str(caught.value)


WRONG_TYPES = """
import deltaspace as ds
from deltaspace.rivals import attach_rival
from deltaspace.subspace import translate
from tests.tiny import tiny_backbone, tiny_task

backbone, task = tiny_backbone("bert"), tiny_task()
lora = ds.attach("lora", backbone, r=2)
space = ds.approximate([lora], [], [], dim=2, projection="gaussian")
calls = [lambda wrong=wrong: ds.SubspaceModel(space, backbone, kept_bytes=wrong) for wrong in (1.5, True, "many", None)]
calls += [
    lambda: ds.attach("lora", backbone.model),
    lambda: ds.train("lora", task),
    lambda: ds.train(lora, "films.csv"),
    lambda: ds.train(lora, task, {"steps": 2}),
    lambda: ds.approximate(lora, [], [], dim=2, projection="gaussian"),
    lambda: ds.approximate(["lora"], [], [], dim=2, projection="gaussian"),
    lambda: ds.approximate([lora], [], [], dim=2, projection={"gaussian": {}}),
    lambda: ds.approximate([lora], [], [], dim="2", projection="gaussian"),
    lambda: ds.optimize([lora], lora, task),
    lambda: ds.optimize(space, lora, task, others=["adapter"]),
    lambda: ds.transfer(space, [0.0, 0.0], lora, task),
    lambda: ds.transfer(space, space.mean_code("lora"), "lora", task),
]
for seed in (1.5, "3", True, None, -1, 10**30):
    calls += [
        lambda seed=seed: ds.attach("lora", backbone, seed=seed),
        lambda seed=seed: ds.train(lora, task, seed=seed),
        lambda seed=seed: ds.approximate([lora], [], [], dim=2, projection="gaussian", seed=seed),
        lambda seed=seed: ds.optimize(space, lora, task, seed=seed),
        lambda seed=seed: translate(space, space.mean_code("lora"), (lora, lora), task, seed=seed),
        lambda seed=seed: ds.convert((lora, lora.initial), lora, task, seed=seed),
        lambda seed=seed: attach_rival("uni-lora", 2, backbone, seed=seed),
    ]
calls += [lambda: ds.attach(3, backbone), lambda: ds.load_backbone(3), lambda: ds.score(lora, task, lora.initial, split="all")]
for call in calls:
    try:
        call()
    except ds.DeltaspaceError as error:
        print(error.what)
"""


def test_wrong_types_where_nobody_checks_them():
    """Without the checking of types that tests have."""
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-c", WRONG_TYPES]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    told = result.stdout.splitlines()
    delta, task = "this is not a delta on a model", "this is not a task"
    arguments = [
        *("this is not a backbone", delta, task, "this is not how a solution is trained"),
        *("this is no list, each of it a delta on a model", delta, "this is not a projection method"),
        *(
            "a subspace has at least one dimension",
            "this is not a subspace",
            delta,
            "this is not a vector of the subspace",
            delta,
        ),
    ]
    assert told == [
        *["kept_bytes is no number of bytes"] * 4,
        *arguments,
        *["this is not a seed"] * 42,
        "this cannot be attached",
        "this is no model",
        "no split 'all'",
    ], result.stderr


def test_a_model_and_a_tokenizer_in_memory(tmp_path):
    save_tiny("bert", tmp_path / "bert")
    there = ds.load_backbone(tmp_path / "bert", max_length=32)
    here = ds.load_backbone(model("bert"), tokenizer=tiny_tokenizer("bert"), max_length=32)
    assert here.family.name == there.family.name == "masked_encoder"
    task = tiny_task()
    solutions = [ds.train(ds.attach("lora", plm, r=2), task, Training(**SHORT)) for plm in (there, here)]
    assert solutions[0].vector.equal(solutions[1].vector)
    assert ds.load_backbone(model("llama"), tokenizer=tiny_tokenizer("llama")).family.name == "decoder"
    with pytest.raises(ds.DeltaspaceError, match="needs its tokenizer"):
        ds.load_backbone(model("bert"))
    with pytest.raises(ds.DeltaspaceError, match=r"not in fp32(.|\n)*model.float\(\)"):
        ds.load_backbone(model("bert").half(), tokenizer=tiny_tokenizer("bert"))
    with pytest.raises(ds.DeltaspaceError, match=r"fits no family(.|\n)*BertModel"):
        ds.load_backbone(model("sentence"), tokenizer=tiny_tokenizer("sentence"))
    with pytest.raises(ds.DeltaspaceError, match="has its tokenizer beside it"):
        ds.load_backbone(str(tmp_path / "bert"), tokenizer=tiny_tokenizer("bert"))


def test_a_subspace_knows_its_model_in_memory_by_its_weights():
    def loaded(seed):
        plm = model("bert")
        torch.manual_seed(seed)
        with torch.no_grad():
            plm.bert.embeddings.word_embeddings.weight.add_(seed)
        return ds.load_backbone(plm, tokenizer=tiny_tokenizer("bert"))

    one, same, other = loaded(0), loaded(0), loaded(1)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    space = ds.approximate([ds.attach("lora", one, r=2)], [], [], dim=2, projection="gaussian")
    ds.SubspaceModel(space, same)
    with pytest.raises(ds.DeltaspaceError, match="belongs to another model"):
        ds.SubspaceModel(space, other)


def test_pefts_configurations_are_deltas_of_recipes_and_conversions(backbone):
    tasks = {"source": ["demo:tweets"], "unseen": ["demo:movies"]}
    listed = Recipe(model="demo", deltas=[LoraConfig(r=3, target_modules=["query"]), "adapter"], tasks=tasks, dim=2)
    assert list(listed.deltas) == ["lora", "adapter"] and listed.delta("lora").settings["r"] == 3
    named = Recipe(model="demo", deltas={"mine": LoraConfig(r=3, target_modules=["query"])}, tasks=tasks, dim=2)
    assert named.delta("mine") == listed.delta("lora")
    with pytest.raises(ds.DeltaspaceError, match=r"Recipe has wrong settings(.|\n)*modules_to_save"):
        Recipe(model="demo", deltas=[LoraConfig(modules_to_save=["cls"])], tasks=tasks, dim=2)
    adapter = ds.attach("adapter", backbone, bottleneck=2)
    settings = Conversion(**SHORT, held_out=4)
    made = ds.convert((adapter, adapter.initial), LoraConfig(r=2, target_modules=["query"]), tiny_task(), settings)
    assert made.attached.name == "peft"


def test_configurations_in_memory_are_not_taken_for_files(backbone):
    tasks = {"source": ["demo:tweets"], "unseen": ["demo:movies"]}
    for wrong in (LoraConfig(modules_to_save=["cls"]), AdaLoraConfig(total_step=2), LoraConfig(init_lora_weights="pissa")):
        name = type(wrong).__name__
        with pytest.raises(ds.DeltaspaceError, match=f"^{name} cannot be attached") as attached:
            ds.attach(wrong, backbone)
        with pytest.raises(ds.DeltaspaceError, match=f"deltas: {name} cannot be attached") as recipe:
            Recipe(model="demo", deltas={"mine": wrong}, tasks=tasks, dim=2)
        for caught in (attached, recipe):
            assert "file" not in str(caught.value) and "remove it there" not in str(caught.value)
        assert attached.value.mend and attached.value.mend in str(recipe.value)


def test_optimize_fills_the_vectors_if_asked(backbone):
    lora, task = ds.attach("lora", backbone, r=2), tiny_task()
    space = ds.approximate([lora], [], [], dim=2, projection="gaussian")
    tuned = ds.optimize(space, lora, task, Optimization(**SHORT))
    assert len(space.vectors) == 0
    kept = ds.optimize(space, lora, task, Optimization(**SHORT), keep=True)
    assert list(space.vectors) == [("tiny", "lora")] and space.vectors.get("tiny").equal(tuned.vector)
    shown = [space, space.vectors, space.entry("lora"), kept, ds.SubspaceModel(space, backbone)]
    shown += [ds.train(lora, task, Training(**SHORT)), lora, task, backbone]
    for thing in shown:
        assert repr(thing).startswith(type(thing).__name__ + "(") and len(repr(thing)) < 220 and "tensor" not in repr(thing)
    assert repr(space) == "Subspace(d = 2 of 'bert': lora; 0 source tasks, 1 vector)"


def test_solutions_that_are_not_the_deltas_are_refused(backbone):
    task = tiny_task()
    lora, adapter = ds.attach("lora", backbone, r=2), ds.attach("adapter", backbone, bottleneck=2)
    solutions = [ds.train(delta, task, Training(**SHORT)) for delta in (lora, adapter)]

    def refused(attached, solved, match):
        with pytest.raises(ds.DeltaspaceError, match=match):
            ds.approximate(attached, solved, [task], dim=1)

    refused([ds.attach("lora", backbone, r=2, seed=5), adapter], solutions, "was not trained from where lora starts")
    refused([ds.attach("lora", backbone, r=4), adapter], solutions, "does not fit the delta")
    refused([lora, adapter], [*solutions, solutions[0]], "two solutions of lora")
    other = replace(solutions[0], vector=solutions[0].vector * float("nan"))
    refused([lora, adapter], [other, solutions[1]], "is not finite")
    elsewhere = tiny_backbone("roberta")
    refused([ds.attach("lora", elsewhere, r=2), adapter], solutions, "the deltas are on different models")
    for wrong in (True, 0):
        with pytest.raises(ds.DeltaspaceError, match="a whole number"):
            ds.approximate([lora, adapter], solutions, [task], dim=wrong)
    assert ds.approximate([lora, adapter], solutions, [task], dim=1).dim == 1


def test_a_configuration_takes_a_name_and_no_settings(backbone):
    config = LoraConfig(r=2, target_modules=["query"])
    assert ds.attach(config, backbone, name="mine").name == "mine"
    with pytest.raises(ds.DeltaspaceError, match="beside a delta that has its own"):
        ds.attach(config, backbone, r=64)


def test_numbers_that_are_none_are_neither_written_nor_set(backbone, tmp_path):
    lora = ds.attach("lora", backbone, r=2)
    with pytest.raises(ds.DeltaspaceError, match="no parameters of lora"):
        ds.export_delta(lora, lora.initial * float("nan"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    space = ds.approximate([lora], [], [], dim=1, projection="gaussian")
    with pytest.raises(ds.DeltaspaceError, match="not finite"):
        ds.SubspaceModel(space, backbone).set_task(torch.tensor([float("nan")]), delta="lora")


@pytest.mark.parametrize(("field", "value"), [("input", None), ("target", 1), ("options", ("x", 2))])
def test_texts_of_a_task_are_texts(field, value):
    example = ds.Example("a", "x")
    # As it is made where types are not checked.
    object.__setattr__(example, field, value)
    splits = {name: [example] for name in ("train", "dev", "test")}
    with pytest.raises(ds.DeltaspaceError, match=f"the {field.removesuffix('s')} of train example 1 is no text"):
        ds.make_task("x", splits, source="here")
