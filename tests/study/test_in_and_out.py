"""Checkpoints into a study and out of it, by the command line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from deltaspace.backbone import load_backbone
from deltaspace.cli import app
from deltaspace.deltas import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.scoring import Scorer
from deltaspace.storage import read_metadata, read_tensors
from deltaspace.study import load_recipe, read_scores, read_subspace, run_study
from deltaspace.subspace import SubspaceModel, load_subspace
from deltaspace.tasks import load_task
from tests.tiny import save_tiny, write_task

SHORT = {"steps": 4, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}
TASKS = ("one", "two", "three")


def command(*words):
    app([str(word) for word in words], standalone_mode=False)


@pytest.fixture
def recipe_file(tmp_path):
    save_tiny("bert", tmp_path / "model")
    for name in TASKS:
        write_task(tmp_path / name, size=16)
    recipe = {
        "model": str(tmp_path / "model"),
        "deltas": [{"lora": {"r": 2, "alpha": 4}}, "adapter"],
        "tasks": {"source": ["one", "two"], "unseen": ["three"]},
        "dim": 2,
        "projection": "svd",
        "train": SHORT,
        "optimize": SHORT,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def zoo(recipe_file, names=("one", "two"), seed=7, **config):
    """LoRAs that peft made and wrote: of one initialization, each moved in its own direction."""
    folder = recipe_file.parent
    for index, name in enumerate(names):
        base = AutoModelForMaskedLM.from_pretrained(folder / "model")
        torch.manual_seed(seed)
        model = get_peft_model(base, LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"], **config}))
        generator = torch.Generator().manual_seed(index)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder / "zoo" / name)
    return [folder / "zoo" / name for name in names]


def test_checkpoints_are_solutions(recipe_file, tmp_path, capsys):
    study, folders = tmp_path / "study", zoo(recipe_file)
    words = ("import", study, *folders, "--task", "one", "--task", "two", "--delta", "lora")
    command(*words, "--recipe", recipe_file)
    out = capsys.readouterr().out
    assert "theta0 of lora: the mean of 2 checkpoints" in out
    tensors, _ = read_tensors(study / "independent/lora/one/0.safetensors")
    other, metadata = read_tensors(study / "independent/lora/two/0.safetensors")
    assert metadata["imported"]["from"] == str(folders[1])
    torch.testing.assert_close(tensors["displacement"], -other["displacement"])
    run_study(load_recipe(recipe_file), study)
    # What was imported stays; everything else was made, from theta0 where it is of this delta.
    again, _ = read_tensors(study / "independent/lora/one/0.safetensors")
    assert again["vector"].equal(tensors["vector"])
    trained, _ = read_tensors(study / "independent/lora/three/0.safetensors")
    torch.testing.assert_close(trained["vector"] - trained["displacement"], tensors["vector"] - tensors["displacement"])
    assert run_study(load_recipe(recipe_file), study) == 0
    assert run_study(load_recipe(study / "recipe.yaml"), study) == 0  # the study's own recipe, from anywhere
    # The imported checkpoint's score is that of peft's own model.
    [row] = [r for r in read_scores(study) if (r.task, r.delta, r.stage) == ("one", "lora", "independent")]
    assert row.score == score_of(recipe_file, folders[0], "one")


def score_of(recipe_file, checkpoint, task_name):
    backbone = load_backbone(str(recipe_file.parent / "model"))
    model = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(recipe_file.parent / "model").eval(), checkpoint)
    task = load_task(task_name, folder=recipe_file.parent)
    items = backbone.family.encode(task, task.test)
    with torch.no_grad():
        found = backbone.family.evaluate(model, backbone.family.collate(items))
    right = [p == e.target for p, e in zip(found.predictions, task.test, strict=True)]
    return 100 * sum(right) / len(right)


def test_theta0_is_drawn_again_where_its_seed_is_known(recipe_file, tmp_path, capsys):
    study, folders = tmp_path / "study", zoo(recipe_file, ("one",))
    words = ("import", study, folders[0], "--task", "one", "--delta", "lora", "--recipe", recipe_file)
    with pytest.raises(DeltaspaceError, match="initial values of lora are not known"):
        command(*words)
    command(*words, "--initial-seed", 7)
    assert "drawn again from torch.manual_seed(7)" in capsys.readouterr().out
    tensors, _ = read_tensors(study / "independent/lora/one/0.safetensors")
    assert tensors["displacement"].std() == pytest.approx(0.1, rel=0.1)
    # Later imports keep it.
    command("import", study, *zoo(recipe_file, ("two",)), "--task", "two", "--delta", "lora", "--recipe", recipe_file)
    assert "manual_seed(7)" in capsys.readouterr().out


def test_a_method_without_chance_starts_where_it_starts(recipe_file, tmp_path, capsys):
    from peft import IA3Config

    written = yaml.safe_load(recipe_file.read_text())
    recipe_file.write_text(yaml.safe_dump({**written, "deltas": [{"peft": "IA3"}]}))
    model = get_peft_model(AutoModelForMaskedLM.from_pretrained(tmp_path / "model"), IA3Config())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3
    model.save_pretrained(tmp_path / "ia3")
    command("import", tmp_path / "study", tmp_path / "ia3", "--task", "one", "--recipe", recipe_file)
    assert "which no seed changes" in capsys.readouterr().out
    tensors, _ = read_tensors(tmp_path / "study/independent/ia3/one/0.safetensors")
    torch.testing.assert_close(tensors["displacement"], torch.full_like(tensors["displacement"], 0.3))


def test_checkpoints_that_do_not_fit_are_refused(recipe_file, tmp_path):
    def told(match, *folders, tasks=("one", "two"), options=("--delta", "lora")):
        words = [word for task in tasks for word in ("--task", task)]
        with pytest.raises(DeltaspaceError, match=match) as error:
            command("import", tmp_path / "study", *folders, *words, "--recipe", recipe_file, *options)
        assert not (tmp_path / "study" / "independent").exists()
        return str(error.value)

    good = zoo(recipe_file)
    assert "r: 3" in told("other settings", *zoo(recipe_file, ("three",), r=3), good[0])
    assert "target_modules: ['key']" in told("other settings", *zoo(recipe_file, ("three",), target_modules=["key"]), good[0])
    bad = tmp_path / "bad"

    def copied():
        shutil.rmtree(bad, ignore_errors=True)
        return shutil.copytree(good[0], bad)

    config = json.loads((copied() / "adapter_config.json").read_text())
    (bad / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "someone/else"}))
    assert "someone/else" in told("is of another model", bad, good[1])
    (copied() / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "VERA"}))
    told("is of another method", bad, good[1])
    (copied() / "adapter_config.json").write_text("[]")
    told("is not peft's", bad, good[1])
    tensors = load_file(copied() / "adapter_model.safetensors")
    first = sorted(tensors)[0]
    save_file({**tensors, first: tensors[first][:1].clone()}, bad / "adapter_model.safetensors")
    assert first in told("does not fit lora", bad, good[1])
    save_file({key: t for key, t in tensors.items() if key != first}, bad / "adapter_model.safetensors")
    assert f"{first} is missing" in told("does not fit lora", bad, good[1])
    (copied() / "adapter_model.safetensors").rename(bad / "adapter_model.bin")
    assert "pickles are never read" in told("has no adapter_model.safetensors", bad, good[1])
    (copied() / "adapter_model.safetensors").write_bytes(b"x" * 20)
    told("cannot be read", bad, good[1])
    told("no folder", tmp_path / "nothing" / "there", good[1])
    told("no task 'four'", *good, tasks=("one", "four"))
    told("one task", *good, tasks=("one",))
    told("is no method of peft", *good, options=("--delta", "adapter"))
    told("no delta", *good, options=("--delta", "nothing"))


def test_an_imported_solution_that_is_gone_is_asked_for(recipe_file, tmp_path):
    study = tmp_path / "study"
    command("import", study, *zoo(recipe_file), "--task", "one", "--task", "two", "--delta", "lora", "--recipe", recipe_file)
    (study / "independent/lora/one/0.safetensors").unlink()
    with pytest.raises(DeltaspaceError, match="was imported"):
        run_study(load_recipe(recipe_file), study)


def test_a_task_goes_out_as_any_delta_and_scores_the_same(recipe_file, tmp_path, capsys):
    study = tmp_path / "study"
    run_study(load_recipe(recipe_file), study)
    command("export", study, "--task", "three", "--delta", "lora", "--out", tmp_path / "lora")
    command("export", study, "--task", "three", "--delta", "lora", "--through", "adapter", "--out", tmp_path / "ported")
    for folder, delta in (("lora", "lora"), ("ported", "adapter")):
        assert f"| vector | found through {delta} |" in (tmp_path / folder / "README.md").read_text()
    for task, message in (("three", r"found through 'nothing'(.|\n)*through adapter, lora"), ("one", "no delta 'nothing'")):
        with pytest.raises(DeltaspaceError, match=message):
            command("export", study, "--task", task, "--delta", "lora", "--through", "nothing", "--out", tmp_path / "no")
    found = {(r.source_delta, r.delta): r.score for r in read_scores(study) if r.dim}
    assert score_of(recipe_file, tmp_path / "lora", "three") == found["lora", "lora"]
    assert score_of(recipe_file, tmp_path / "ported", "three") == found["adapter", "lora"]
    command("export", study, "--task", "one", "--delta", "adapter", "--out", tmp_path / "adapter")
    assert "the source task's code" in (tmp_path / "adapter" / "README.md").read_text()
    assert read_metadata(tmp_path / "adapter" / "delta.safetensors")["format"] == "deltaspace.delta/1"
    command("export", study, "--task", "three", "--delta", "lora", "--merge", "--out", tmp_path / "merged")
    AutoModelForMaskedLM.from_pretrained(tmp_path / "merged")
    command("export", study, "--out", tmp_path / "space")
    whole = load_subspace(tmp_path / "space")
    assert list(whole.vectors) == [("three", "adapter"), ("three", "lora")]
    # From the exported subspace alone.
    command("export", tmp_path / "space", "--task", "three", "--delta", "lora", "--out", tmp_path / "again")
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("lora", "again"))
    assert all(tensor.equal(other[key]) for key, tensor in one.items())
    capsys.readouterr()
    for place in (study, tmp_path / "space"):
        command("info", place, "--json")
        described = json.loads(capsys.readouterr().out)
        assert described["dim"] == 2
        assert described["source_tasks"] == ["one", "two"]
    command("info", study)
    assert "three" in capsys.readouterr().out
    for words, match in (
        (("--task", "nothing", "--delta", "lora"), "no task"),
        (("--task", "three", "--delta", "nothing"), "no delta"),
        (("--task", "three"), "as which delta"),
        (("--delta", "lora"), "for one task"),
        (("--dim", "5"), "no subspace with d = 5"),
    ):
        with pytest.raises(DeltaspaceError, match=match):
            command("export", study, "--out", tmp_path / "x", *words)
    with pytest.raises(DeltaspaceError, match="cannot be merged"):
        command("export", study, "--task", "three", "--delta", "adapter", "--merge", "--out", tmp_path / "x")


def test_a_delta_by_the_configuration_of_a_checkpoint(recipe_file, tmp_path):
    [folder] = zoo(recipe_file, ("one",), use_rslora=True)
    written = yaml.safe_load(recipe_file.read_text())
    for deltas in ([{"peft": "zoo/one", "name": "mine"}], {"mine": {"peft": "zoo/one"}, "small": {"method": "lora", "r": 1}}):
        recipe_file.write_text(yaml.safe_dump({**written, "deltas": deltas}))
        recipe = load_recipe(recipe_file)
        assert recipe.deltas["mine"]["settings"]["use_rslora"] is True
        assert recipe.delta("mine").peft == "LORA"
        command(
            "import", tmp_path / "study", folder, "--task", "one", "--delta", "mine", "--initial-seed", 7, "--recipe", recipe_file
        )
        shutil.rmtree(tmp_path / "study")
    backbone = load_backbone(str(tmp_path / "model"))
    assert AttachedDelta(recipe.delta("small"), backbone, 0, "small").name == "small"


def test_a_study_with_fine_tuning_and_peft(recipe_file, tmp_path):
    written = yaml.safe_load(recipe_file.read_text())
    deltas = [{"lora": {"r": 2}}, {"peft": "IA3", "lr_factor": 5}, {"finetune": {"lr_factor": 0.5}}, {"apet": {"count": 100}}]
    study = tmp_path / "study"
    recipe_file.write_text(yaml.safe_dump({**written, "deltas": deltas}))
    run_study(load_recipe(recipe_file), study)
    assert run_study(load_recipe(recipe_file), study) == 0
    found = read_scores(study)
    assert len([r for r in found if r.stage == "transferred"]) == 12
    tensors, _ = read_tensors(study / "independent/finetune/one/0.safetensors")
    assert {name: t.dtype for name, t in tensors.items()} == {"displacement": torch.bfloat16}
    subspace = read_subspace(study)
    assert subspace.entries["finetune"].map.kind == "mixture"
    # The source task's code decodes to what was kept, and scores what the solution scored.
    backbone = load_backbone(str(tmp_path / "model"))
    attached = SubspaceModel(subspace, backbone).attached("finetune")
    scorer = Scorer(attached, load_task("one", folder=tmp_path), "test")
    code = subspace.entries["finetune"].encode(tensors["displacement"].float().unsqueeze(0))
    own = scorer.score(subspace.decode("finetune", code[0])).value
    assert own == next(r.score for r in found if (r.task, r.delta, r.stage) == ("one", "finetune", "independent"))


@pytest.mark.parametrize("tie", ["fastfood", "span"])
def test_fine_tuning_is_trained_jointly(recipe_file, tmp_path, tie):
    written = yaml.safe_load(recipe_file.read_text())
    changes = {"deltas": [{"lora": {"r": 2}}, "finetune"], "projection": {"dense": {"tie": tie}}, "approximate": SHORT}
    recipe_file.write_text(yaml.safe_dump({**written, **changes}))
    run_study(load_recipe(recipe_file), tmp_path / "study")
    subspace = read_subspace(tmp_path / "study")
    assert subspace.entries["finetune"].map.kind == {"fastfood": "hadamard", "span": "mixture"}[tie]
    assert subspace.entries["lora"].map.kind == "dense"
