"""Five tasks of newcomers, each done as the documents say, with nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

import deltaspace as ds
from deltaspace.cli import app
from tests.newcomer import furnish, shorten, table
from tests.tiny import save_tiny, write_task

COUNT = 20


def deltaspace(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """My BERT and my CSV: docs/quickstart.md and docs/how-to/data.md."""
    folder = tmp_path_factory.mktemp("mine")
    furnish(folder)
    table(folder / "stars.csv", ("review", "stars"), ("1", "5"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        deltaspace("init", "my-bert", "films.csv", "stars.csv", "--unseen", "products.csv", "-o", "recipe.yaml")
        shorten(folder / "recipe.yaml")
        deltaspace("check", "recipe.yaml")
        deltaspace("run", "recipe.yaml", "--out", "runs/mine")
    return folder


def test_my_bert_and_my_csv(mine):
    said = json.loads(deltaspace("show", mine / "runs" / "mine", "--json"))
    tuned = [row for row in said if row["stage"] == "optimized"] if isinstance(said, list) else said
    assert tuned
    rows = ds.read_scores(str(mine / "runs" / "mine"))
    assert {row.delta for row in rows if row.stage == "optimized"} == {"adapter", "lora", "prefix"}
    assert {row.task for row in rows if row.stage == "transferred"} == {"products"}


def test_serving_a_task(mine, monkeypatch):
    """docs/how-to/serve.md: a checkpoint that peft loads has the very logits of the space."""
    monkeypatch.chdir(mine)
    deltaspace("export", "runs/mine", "--task", "products", "--delta", "lora", "-o", "products-lora")
    tokenizer = AutoTokenizer.from_pretrained("my-bert")
    inputs = tokenizer(["a fine film <mask>", "a dull plot <mask>"], return_tensors="pt", padding=True)
    served = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained("my-bert"), "products-lora").eval()
    model = ds.SubspaceModel(ds.read_subspace("runs/mine"), ds.load_backbone("my-bert"))
    model.set_task("products", delta="lora")
    with torch.no_grad():
        assert torch.allclose(served(**inputs).logits, model(**inputs).logits, atol=1e-6)


def test_my_t5_and_a_data_set_in_the_hubs_layout(place):
    """docs/tasks.md: columns and splits, looked at, fetched once, run from the folder."""
    save_tiny("t5", place / "my-t5")
    for split in ("train", "test"):
        rows = [{"sentence": f"a {'good' if i % 2 else 'bad'} film {i} {split}", "stars": i % 2} for i in range(40)]
        (place / "reviews").mkdir(exist_ok=True)
        (place / "reviews" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_task(place / "films", size=20)
    columns = {"input": "sentence", "target": "stars", "values": {"0": "bad", "1": "good"}}
    splits = {"train": "train[:80%]", "dev": "train[80%:]", "test": "test", "shuffle": 0}
    recipe = {
        "model": "my-t5",
        "deltas": ["adapter", "lora"],
        "tasks": {"source": [{"from": "hub:reviews", "columns": columns, "splits": splits}], "unseen": ["films"]},
        "dim": 2,
        "projection": "dense",
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    shorten(place / "recipe.yaml")
    assert "-> good" in deltaspace("tasks", "recipe.yaml", "--preview", "3")
    deltaspace("tasks", "recipe.yaml", "--fetch", "tasks")
    deltaspace("run", "tasks/recipe.yaml", "--out", "runs/t5")
    assert {row.delta for row in ds.read_scores("runs/t5") if row.stage == "transferred"} == {"adapter", "lora"}


def test_my_twenty_loras(place):
    """docs/how-to/zoo.md: in, a new task among them, and out again."""
    save_tiny("bert", place / "my-bert")
    names = [f"task{index:02}" for index in range(COUNT)]
    for index, name in enumerate([*names, "new"]):
        write_task(place / "data" / name, size=12)
        if name == "new":
            continue
        torch.manual_seed(7)
        lora = LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"])
        model = get_peft_model(AutoModelForMaskedLM.from_pretrained("my-bert"), lora)
        generator = torch.Generator().manual_seed(index)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(place / "my-loras" / name)
    recipe = {
        "model": "my-bert",
        "deltas": [{"peft": "my-loras/task00", "name": "lora"}],
        "tasks": {"source": [f"data/{name}" for name in names], "unseen": ["data/new"]},
        "dim": COUNT,
        "projection": "svd",
    }
    (place / "zoo.yaml").write_text(yaml.safe_dump(recipe))
    shorten(place / "zoo.yaml")
    told = deltaspace("import", "runs/zoo", *(place / "my-loras" / name for name in names), "--recipe", "zoo.yaml")
    assert f"kept whole: {COUNT} of {COUNT}" in told
    deltaspace("run", "zoo.yaml", "--out", "runs/zoo")
    space = ds.read_subspace("runs/zoo")
    assert space.codes_of("lora").shape == (COUNT, COUNT)
    assert {row.task for row in space.kept if row.dim == COUNT} == set(names)
    deltaspace("export", "runs/zoo", "--task", "new", "--delta", "lora", "-o", "new-lora")
    PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained("my-bert"), "new-lora")


def test_a_delta_in_my_own_package(place):
    """docs/how-to/add.md: the page's own program as a package with an entry point; recipes know it without an import."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "how-to" / "add.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("\n\ndelta = ")[0]
    package = place / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "shift.py").write_text(program + "\n")
    about = place / "site" / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    [group, line] = [part.strip() for part in page.split("    [project.entry-points.")[1].splitlines()[:2]]
    (about / "entry_points.txt").write_text(
        textwrap.dedent(f"[{group.strip(']').strip(chr(34))}]\n{line.replace(chr(34), '')}\n")
    )
    furnish(place)
    recipe = {
        "model": "my-bert",
        "deltas": [{"shift": {"scale": 2.0}}, "lora"],
        "tasks": {"source": ["films.csv"], "unseen": ["products.csv"]},
        "dim": 2,
        "projection": "dense",
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place / "site"), source])}
    command = [sys.executable, "-m", "deltaspace", "check", "recipe.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    assert "recipe.yaml is right" in result.stdout


def test_a_configuration_of_pefts_is_a_delta(place):
    furnish(place)
    backbone = ds.load_backbone("my-bert")
    attached = ds.attach(LoraConfig(r=3, target_modules=["query"]), backbone)
    films = ds.load_task("films.csv", folder=str(place))
    assert repr(films) == "Task('films', classification, accuracy, 28 train, 4 dev, 8 test)"
    assert repr(backbone).startswith("Backbone('my-bert', masked_encoder, ") and len(repr(backbone)) < 80
    assert repr(attached) == "AttachedDelta('peft' of 192 parameters on 'my-bert')"
    assert attached.layout.size == 2 * 3 * (16 + 16)
    assert attached.layout.size == ds.attach("peft", backbone, peft="LORA", r=3, target_modules=["query"]).layout.size
    with pytest.raises(ds.DeltaspaceError, match=r"the delta lora cannot be made(.|\n)*rank: unknown key"):
        ds.attach("lora", backbone, rank=3)
    with pytest.raises(ds.DeltaspaceError, match=r"no delta 'adaptor'; did you mean 'adapter'"):
        ds.attach("adaptor", backbone)
