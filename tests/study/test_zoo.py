"""A zoo of LoRAs: whose tasks their folders or a manifest tell, and what is kept of each, by the import and by the space."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM
from typer.testing import CliRunner

from deltaspace.checkpoints.kept import kept_of
from deltaspace.checkpoints.read_peft import Checkpoint, read_checkpoints
from deltaspace.cli import app
from deltaspace.deltas import AttachedDelta, Lora, Peft, native_lora, peft_settings
from deltaspace.deltas.peft_checkpoint import without_warnings
from deltaspace.errors import DeltaspaceError
from deltaspace.report.kept import kept_table
from deltaspace.study import Kept, import_checkpoints, load_recipe, read_kept, read_scores, run_study, zoo_tasks
from deltaspace.study.resources import load_tasks
from deltaspace.subspace.kept import relative_error
from tests.tiny import save_tiny, write_task

SHORT = {"steps": 2, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}
TASKS = ("one", "two", "three")


def deltaspace(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.stdout


def checkpoint(place, folder, config=None, seed=1):
    """A checkpoint that peft wrote, moved away from where it began."""
    torch.manual_seed(7)
    config = config or LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"])
    model = get_peft_model(AutoModelForMaskedLM.from_pretrained(place / "model"), config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    with without_warnings():  # peft takes a bias for a part of something
        model.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path):
    save_tiny("bert", tmp_path / "model")
    for index, name in enumerate(TASKS):
        write_task(tmp_path / name, size=16)
        checkpoint(tmp_path, tmp_path / "zoo" / name, seed=index)
    recipe = {
        "model": str(tmp_path / "model"),
        "deltas": [{"peft": "zoo/one", "name": "lora"}],
        "tasks": {"source": ["one", "two"], "unseen": ["three"]},
        "dim": 1,
        "projection": "svd",
        **dict.fromkeys(("train", "optimize"), SHORT),
    }
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_a_zoo_is_brought_in_and_everybody_tells_what_is_kept(place):
    study = place / "study"
    told = deltaspace("import", study, *(place / "zoo").iterdir(), "--recipe", place / "zoo.yaml")
    assert "kept whole: 3 of 3" in told and max(map(len, told.splitlines()[:12])) <= 80
    recipe = load_recipe(place / "zoo.yaml")
    assert recipe.delta("lora") == Lora(r=2, alpha=4.0, target_modules=("query", "value"))
    run_study(recipe, study)
    rows = {(row.task, row.dim): row for row in read_kept(study)}
    assert set(rows) == {("one", None), ("two", None), ("three", None), ("one", 1), ("two", 1)}
    for (task, dim), row in rows.items():
        if dim is None:
            assert (row.parameter_error, row.before) == (0, row.after) and row.disagreement < 1e-9
            assert row.source == str(place / "zoo" / task) and row.whole
    # Displacements are from the mean of the three: one dimension does not hold two of them.
    assert all(0.05 < row.parameter_error < 1 for (_, dim), row in rows.items() if dim == 1)
    scores = {(row.stage, row.task): row.score for row in read_scores(study)}
    assert rows["one", 1].before == scores["independent", "one"] and rows["one", 1].after == scores["reconstructed", "one"]
    assert run_study(recipe, study) == 0
    assert "What is kept of each solution" in deltaspace("show", study)
    said = [row for row in json.loads(deltaspace("show", study, "--json")) if "kept" in row]
    assert {(row["stage"], row["task"]) for row in said} >= {("independent", "one"), ("reconstructed", "two")}
    assert "What is kept of each solution" in deltaspace("info", study)
    deltaspace("export", study, "-o", place / "space")
    assert "What is kept of each solution" in deltaspace("info", place / "space")
    assert "| one | lora | d = 1 |" in (place / "space" / "README.md").read_text()
    deltaspace("export", study, "--task", "two", "--delta", "lora", "-o", place / "two-lora")
    assert "| kept | by the import: parameter error 0.0%" in (place / "two-lora" / "README.md").read_text()


def test_what_a_space_cannot_hold_is_told(place):
    recipe = yaml.safe_load((place / "zoo.yaml").read_text())
    recipe["tasks"] = {"source": list(TASKS), "unseen": ["four"]}
    (place / "zoo.yaml").write_text(yaml.safe_dump(recipe))
    write_task(place / "four", size=16)
    said = json.loads(deltaspace("import", place / "study", *(place / "zoo").iterdir(), "--recipe", place / "zoo.yaml", "--json"))
    assert {row["task"] for row in said} == set(TASKS) and all(row["whole"] for row in said)
    run_study(load_recipe(place / "zoo.yaml"), place / "study")
    lost = [row for row in read_kept(place / "study") if row.dim == 1]
    assert len(lost) == 3 and max(row.parameter_error for row in lost) > 0.2 and not all(row.whole for row in lost)


def test_other_source_solutions_are_measured_where_the_recipe_asks(place):
    recipe = yaml.safe_load((place / "zoo.yaml").read_text())
    for asked, count in ((None, 0), (True, 2)):
        (place / "zoo.yaml").write_text(yaml.safe_dump({**recipe, "reconstruction": asked}))
        run_study(load_recipe(place / "zoo.yaml"), place / "study")
        assert len(read_kept(place / "study")) == count
    assert {row.source for row in read_kept(place / "study")} == {None}


def test_a_space_of_random_directions_keeps_what_it_encodes(place):
    recipe = yaml.safe_load((place / "zoo.yaml").read_text())
    (place / "zoo.yaml").write_text(yaml.safe_dump({**recipe, "projection": "gaussian", "reconstruction": True}))
    run_study(load_recipe(place / "zoo.yaml"), place / "study")
    assert all(0.9 < row.parameter_error <= 1.001 for row in read_kept(place / "study"))


def test_tasks_by_folders_and_manifests(place, monkeypatch):
    zoo = place / "zoo"
    checkpoint(place, zoo / "17")
    names = [str(zoo / name) for name in ("two", "one")]
    assert zoo_tasks(names, TASKS) == {"two": names[0], "one": names[1]}
    assert zoo_tasks(["someone/one", f"{zoo}/two/"], TASKS) == {"one": "someone/one", "two": f"{zoo}/two/"}
    manifest = zoo / "manifest.json"
    manifest.write_text(json.dumps({"one": "one", "b": {"folder": "17", "task": "two"}, "three": {}}))
    listed = {"one": str(zoo / "one"), "two": str(zoo / "17"), "three": str(zoo / "three")}
    assert zoo_tasks([str(manifest)], TASKS) == listed
    monkeypatch.chdir(zoo)
    assert zoo_tasks(["17", "manifest.json"], TASKS) == {"two": "17", "one": "one", "three": "three"}
    manifest.write_text(json.dumps({"a": {"folder": "someone/else", "task": "three"}}))
    assert zoo_tasks(["manifest.json"], TASKS) == {"three": "someone/else"}


def test_names_that_are_no_tasks_are_all_told(place):
    zoo = place / "zoo"
    (zoo / "notes").mkdir()
    shutil.copytree(zoo / "one", zoo / "tow")
    with pytest.raises(DeltaspaceError) as error:
        zoo_tasks([str(zoo / name) for name in ("one", "tow", "notes")], TASKS)
    assert "no task 'tow'; did you mean 'two'?" in str(error.value) and "notes is no checkpoint of peft" in str(error.value)
    with pytest.raises(DeltaspaceError, match="are both of one"):
        zoo_tasks([str(zoo / "one"), "someone/one"], TASKS)
    for said in ([], {}, {"one": 3}, {"one": {"path": "x"}}):
        (zoo / "m.json").write_text(json.dumps(said))
        with pytest.raises(DeltaspaceError, match=r"no manifest|entry 'one' is wrong"):
            zoo_tasks([str(zoo / "m.json")], TASKS)


def test_what_a_manifest_names_and_is_not_there(place, monkeypatch):
    monkeypatch.setattr("deltaspace.storage.hub.hub_answers", lambda: False)
    manifest, recipe = place / "zoo" / "m.json", load_recipe(place / "zoo.yaml")
    (place / "zoo" / "plain.txt").write_text("x")
    for folder, phrase in (
        ("gone", f"the folder {place}/zoo/gone is missing"),
        ("../zoo/gone", f"the folder {place}/zoo/../zoo/gone is missing"),
        ("nobody/nothing", "there is no folder nobody/nothing, and nobody/nothing cannot be fetched from the Hugging Face Hub"),
        ("plain.txt", f"{place}/zoo/plain.txt is a file"),
    ):
        manifest.write_text(json.dumps({"one": folder}))
        with pytest.raises(DeltaspaceError) as error:
            import_checkpoints(recipe, place / "study", [str(manifest)])
        assert error.value.what.startswith(f"{manifest}, entry 'one': {phrase}") and error.value.mend
    manifest.write_text('{"one": "one", "one": "two"}')
    with pytest.raises(DeltaspaceError, match=rf"{manifest} cannot be read\n  found: 'one' stands twice"):
        import_checkpoints(recipe, place / "study", [str(manifest)])


def test_manifests_and_files_that_are_given_with_a_task(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "zoo" / "m.json").write_text(json.dumps({"one": "one"}))
    (place / "zoo" / "plain.txt").write_text("x")
    for name, phrase in (("m.json", "zoo/m.json is a manifest"), ("plain.txt", "zoo/plain.txt is a file")):
        result = CliRunner().invoke(app, ["import", "study", f"zoo/{name}", "--task", "one", "--recipe", "zoo.yaml"])
        assert isinstance(result.exception, DeltaspaceError) and result.exception.what.startswith(phrase)


def test_every_checkpoint_that_does_not_fit_is_told_and_nothing_is_taken(place):
    checkpoint(place, place / "zoo" / "two", LoraConfig(r=3, lora_alpha=4, target_modules=["query", "value"]))
    checkpoint(place, place / "zoo" / "three", LoraConfig(r=2, lora_alpha=4, target_modules=["key"]))
    result = CliRunner().invoke(
        app, ["import", str(place / "study"), *map(str, (place / "zoo").iterdir()), "--recipe", str(place / "zoo.yaml")]
    )
    assert isinstance(result.exception, DeltaspaceError)
    assert result.exception.what == "2 of 3 checkpoints do not fit lora"
    assert "r: 3" in str(result.exception) and "target_modules: ['key']" in str(result.exception)
    assert not (place / "study" / "independent").exists()


@pytest.mark.parametrize(
    ("config", "native"),
    [
        (LoraConfig(r=2, target_modules=["query", "value"], lora_dropout=0.1), True),
        (LoraConfig(r=2, target_modules=["query"], use_dora=True), False),
        (LoraConfig(r=2, target_modules=["query"], use_rslora=True), False),
        (LoraConfig(r=2, target_modules=["query"], init_lora_weights="gaussian"), False),
        (LoraConfig(r=2, target_modules=["query"], layers_to_transform=[0]), False),
        (LoraConfig(r=2, target_modules=["query"], rank_pattern={"query": 1}), False),
        (LoraConfig(r=2, target_modules=["query"], lora_bias=True), False),
        (LoraConfig(r=2, target_modules=r".*\.0\..*query"), False),
        (LoraConfig(r=2, target_modules=["word_embeddings", "query"]), False),
        (IA3Config(target_modules=["query"], feedforward_modules=[]), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else None,
)
def test_the_native_lora_is_taken_where_it_fits_and_nothing_is_lost_either_way(place, config, native):
    folder = checkpoint(place, place / "zoo" / "any", config)
    recipe = yaml.safe_load((place / "zoo.yaml").read_text())
    (place / "zoo.yaml").write_text(yaml.safe_dump({**recipe, "deltas": [{"peft": "zoo/any", "name": "mine"}]}))
    loaded = load_recipe(place / "zoo.yaml")
    assert isinstance(loaded.delta("mine"), Lora if native else Peft)
    said = peft_settings(folder)
    assert (native_lora(folder, said["peft"], said["settings"]) is not None) == native
    from deltaspace.backbone import load_backbone

    attached = AttachedDelta(loaded.delta("mine"), load_backbone(str(place / "model")), 0, "mine")
    [read] = read_checkpoints([str(folder)], attached)
    assert kept_of(attached, load_tasks(loaded)["one"], read).whole


def test_a_bias_is_refused_not_dropped(place):
    folder = checkpoint(
        place, place / "zoo" / "biased", LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"], bias="lora_only")
    )
    with pytest.raises(DeltaspaceError, match="bias: lora_only"):
        read_checkpoints([str(folder)], attached_lora(place))


def test_a_setting_that_peft_would_leave_out_is_refused(place):
    path = place / "zoo" / "two" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sparsity": 0.5}))
    with pytest.raises(DeltaspaceError, match=r"does not know of LORA\n  found: sparsity: 0.5"):
        read_checkpoints([str(path.parent)], attached_lora(place))


def attached_lora(place):
    from deltaspace.backbone import load_backbone

    return AttachedDelta(load_recipe(place / "zoo.yaml").delta("lora"), load_backbone(str(place / "model")), 0, "lora")


def test_a_loss_is_measured_where_there_is_one(place):
    """Numbers of 64 bits lose their end in 32; parameters of another checkpoint are another function."""
    attached, task = attached_lora(place), load_tasks(load_recipe(place / "zoo.yaml"))["one"]
    folder = place / "zoo" / "one"
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor.double() + 1e-9 for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    [read] = read_checkpoints([str(folder)], attached)
    kept = kept_of(attached, task, read)
    assert 0 < kept.parameter_error < 1e-6 and kept.whole
    [other] = read_checkpoints([str(place / "zoo" / "two")], attached)
    wrong = kept_of(attached, task, Checkpoint("mixed up", other.parameters, read.sha256, folder))
    assert wrong.parameter_error > 0.5 and wrong.disagreement > 1e-4 and not wrong.whole
    model = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(place / "model"), folder)
    assert model.active_peft_config.r == 2


def test_the_table_has_eighty_columns(capsys):
    rows = [
        Kept(
            "a-task-of-a-very-long-name-" * 2, "a-delta-of-a-long-name", 0, dim, "x", 0.123456, 1.25, "accuracy", 100.0, 99.9, 500
        )
        for dim in (None, 100)
    ]
    Console(width=80).print(kept_table(rows))
    shown = capsys.readouterr().out
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80 and "12.3" in shown and "d = 100" in shown


def test_relative_errors():
    one = torch.tensor([3.0, 4.0])
    assert relative_error([(one, one)]) == 0 and relative_error([(one, torch.zeros(2))]) == 1
    assert relative_error([(one, one), (torch.zeros(2), one)]) == 1
    assert relative_error([(torch.zeros(2), one)]) == 5


def test_one_checkpoint_of_two_tasks_is_refused(place):
    zoo, study = place / "zoo", place / "study"
    (zoo / "list.json").write_text(json.dumps({"one": "one", "two": "one"}))
    for words in ([zoo / "list.json"], [zoo / "one", f"{zoo / 'one'}/", "--task", "one", "--task", "two"]):
        result = CliRunner().invoke(app, ["import", *map(str, [study, *words, "--recipe", place / "zoo.yaml"])])
        assert result.exit_code == 1 and "one checkpoint is given for two tasks: one and two" in str(result.exception)
    assert not (study / "independent").exists() and not (study / "recipe.yaml").exists()


def test_later_checkpoints_have_the_initial_values_of_earlier_ones(place):
    recipe, study, zoo = load_recipe(place / "zoo.yaml"), place / "study", place / "zoo"
    import_checkpoints(recipe, study, {"one": str(zoo / "one")}, initial_seed=5)
    with pytest.raises(DeltaspaceError, match=r"other initial values\n  found: drawn again from torch.manual_seed\(5\)"):
        import_checkpoints(recipe, study, {"two": str(zoo / "two")}, initial_seed=6)
    import_checkpoints(recipe, study, {"two": str(zoo / "two")}, initial_seed=5)
    [taken] = import_checkpoints(recipe, study, {"three": str(zoo / "three")})
    assert taken.initial == "drawn again from torch.manual_seed(5)"
    scaled = LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"], use_rslora=True)
    checkpoint(place, place / "rs", scaled)
    written = yaml.safe_load((place / "zoo.yaml").read_text()) | {"deltas": [{"peft": "rs", "name": "lora"}]}
    (place / "other.yaml").write_text(yaml.safe_dump(written))
    other = load_recipe(place / "other.yaml")
    with pytest.raises(DeltaspaceError, match="is the initial vector of another lora"):
        import_checkpoints(other, study, {"one": str(place / "rs")})
