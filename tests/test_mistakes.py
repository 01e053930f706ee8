"""A user's mistakes: each ends with one message that names the thing, never a traceback from a library."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from transformers import T5Config

from deltaspace import backbone as backbone_module
from deltaspace.cli import app, main
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import packages, write_json
from deltaspace.study import check_recipe, load_recipe, read_scores, run_study
from deltaspace.tasks.sources import demo
from tests.tiny import save_tiny, write_task

BASE = {"model": "model", "deltas": ["lora"], "tasks": {"source": ["one"], "unseen": ["two"]}, "dim": 2}
STEPS = {"steps": 2, "evaluate_every": 1, "batch_size": 4}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny("bert", tmp_path / "model")
    write_task(tmp_path / "one")
    write_task(tmp_path / "two")
    return tmp_path


def check(place, recipe):
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False)
    (place / "recipe.yaml").write_text(text)
    check_recipe(load_recipe(place / "recipe.yaml"))


RECIPES = {
    "unknown key": ({**BASE, "dims": 4}, r"line \d+: dims: unknown key"),
    "missing key": ({k: v for k, v in BASE.items() if k != "dim"}, "dim: is missing"),
    "wrong type": ({**BASE, "dim": "four"}, "dim"),
    "d below one": ({**BASE, "dim": 0}, "d is at least 1"),
    "negative learning rate": ({**BASE, "train": {"lr": -1}}, r"train.lr: .*greater than 0.*found -1"),
    "unknown delta": ({**BASE, "deltas": ["lorra"]}, "no delta 'lorra'; there are .*did you mean 'lora'"),
    "unknown setting of a delta": ({**BASE, "deltas": [{"lora": {"rank": 8}}]}, "rank"),
    "a delta twice": ({**BASE, "deltas": ["lora", "lora"]}, "stands twice"),
    "a task twice": ({**BASE, "tasks": {"source": ["one"], "unseen": ["one"]}}, "two tasks are called 'one'"),
    "no unseen task": ({**BASE, "tasks": {"source": ["one"], "unseen": []}}, "tasks.unseen"),
    "unknown metric": ({**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "metric": "f2"}]}}, "no metric 'f2'"),
    "a metric for other tasks": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "metric": "pearson"}]}},
        r"task two: the metric pearson is not for a classification task(.|\n)*accuracy",
    ),
    "a task's name": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "name": "a b"}]}},
        r"line \d+: tasks.unseen.0: 'a b' cannot be a task's name: .*give it another 'name'",
    ),
    "not YAML": ("model: [demo", "is not YAML"),
    "not a mapping": ("- demo", "is not a mapping"),
    "no task folder": ({**BASE, "tasks": {"source": ["one"], "unseen": ["three"]}}, "task folder .*three is missing"),
    "unknown task source": ({**BASE, "tasks": {"source": ["one"], "unseen": ["web:two"]}}, "no task source"),
    "unknown demo task": ({**BASE, "tasks": {"source": ["one"], "unseen": ["demo:songs"]}}, "no demo task 'songs'"),
    "a label that is none": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "labels": ["good", "bad"]}]}},
        "the target is not one of the labels",
    ),
    "a label word that the model lacks": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "labels": {"happy": "joyous", "sad": "sad"}}]}},
        "'joyous' cannot be produced",
    ),
    "generation with a masked encoder": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "kind": "generation"}]}},
        "asks for generated text",
    ),
    "a prompt without a mask": (
        {**BASE, "tasks": {"source": ["one"], "unseen": [{"from": "two", "prompt": "{input}"}]}},
        "the prompt lacks a field",
    ),
    "no such model folder": ({**BASE, "model": "./nothing"}, "model folder ./nothing is missing"),
    "no such Hub model, no network": ({**BASE, "model": "nobody/nothing"}, "cannot be fetched from the Hugging Face Hub"),
    "no such Hub data set, no network": ({**BASE, "tasks": {"source": ["one"], "unseen": ["hub:nobody/no"]}}, "cannot be loaded"),
    "a folder that is no model": ({**BASE, "model": "one"}, "is not a model"),
    "modules that the model lacks": ({**BASE, "deltas": [{"adapter": {"modules": ["x"]}}]}, "no module of model"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(place, name):
    recipe, message = RECIPES[name]
    with pytest.raises(DeltaspaceError, match=message):
        check(place, recipe)


TASK_FILES = {
    "not JSON": (b'{"input": "a"', r"train.jsonl, line 1: not JSON"),
    "not UTF-8": (b'{"input": "a", "target": "x"}\n\xff\xfe', r"train.jsonl, line 2: not UTF-8"),
    "not an object": (b"[1]", "line 1: not an object"),
    "no target": (b'{"input": "a"}', "no 'target'"),
    "target not a text": (b'{"input": "a", "target": {"a": 1}}', "'target' is not a text"),
    "options not a list": (b'{"input": "a", "target": "b", "options": "b"}', "'options' is not a list"),
    "target not an option": (b'{"input": "a", "target": "b", "options": ["c"]}', "not one of the options"),
    "empty": (b"\n", "its train split is empty"),
    "missing": (None, "train.jsonl is missing"),
}


@pytest.mark.parametrize("name", TASK_FILES)
def test_task_file(place, name):
    content, message = TASK_FILES[name]
    path = place / "two" / "train.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeltaspaceError, match=message):
        check(place, BASE)


def test_a_model_of_no_family_lists_what_is_supported(place):
    config = json.loads((place / "model" / "config.json").read_text())
    (place / "model" / "config.json").write_text(json.dumps({**config, "architectures": ["BertForTokenClassification"]}))
    with pytest.raises(DeltaspaceError, match=r"fits no family(.|\n)*T5, BART"):
        check(place, BASE)


def test_an_encoder_decoder_without_a_text_head_is_told(place):
    assert backbone_module.family_of("t5", T5Config(), place / "model") == "encoder_decoder"


def test_truncated_weights(place):
    path = place / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DeltaspaceError, match=r"model\.safetensors cannot be read"):
        check(place, BASE)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeltaspaceError, match="no space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_in_a_run_keeps_what_is_done(place, monkeypatch):
    (place / "recipe.yaml").write_text(yaml.safe_dump({**BASE, "train": STEPS, "approximate": STEPS, "optimize": STEPS}))
    recipe, real, left = load_recipe(place / "recipe.yaml"), os.fsync, [4]

    def filling(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(DeltaspaceError, match="no space left"):
        run_study(recipe, place / "study")
    monkeypatch.setattr(os, "fsync", real)
    kept = len(read_scores(place / "study"))
    assert 1 <= kept <= 3
    made = run_study(recipe, place / "study")
    assert made == 2 + 2 + 1 + 1 + 1 - kept


def pip(returncode, content=None):
    def fake(command, **_):
        if content is not None:
            (Path(command[command.index("--dest") + 1]) / demo.ARCHIVE).write_bytes(content)
        return subprocess.CompletedProcess(command, returncode, "", "ERROR: no network\n")

    return fake


@pytest.mark.parametrize(
    ("fake", "message"),
    [(pip(1), r"cannot be downloaded(.|\n)*no network"), (pip(0, b"half an archive"), "is not the expected file")],
    ids=["no network", "interrupted download"],
)
def test_the_download_of_the_demo(monkeypatch, fake, message):
    monkeypatch.setattr(packages.subprocess, "run", fake)
    with pytest.raises(DeltaspaceError, match=message):
        demo.fetch_archive()
    assert not (demo.cache_folder() / demo.ARCHIVE).exists()


def test_the_command_line_ends_with_code_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["deltaspace", "check", str(tmp_path / "nothing.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "nothing.yaml is missing" in capsys.readouterr().err
    assert app.registered_commands


def test_a_long_text_of_somebody_else_is_shortened():
    said = str(DeltaspaceError("a label", found="x" * 3_000_000))
    assert len(said) < 3_000 and said.endswith("x… (3,000,000 characters)")


def test_a_delta_that_stands_twice_is_told_with_the_other_wrong_ones(place):
    recipe = {**BASE, "deltas": ["lora", {"lora": {"rank": 3}}, "adaptor", {"prefix": {"tokens": 0}}, 7]}
    with pytest.raises(DeltaspaceError) as caught:
        check(place, recipe)
    said = str(caught.value)
    for part in ("has 5 mistakes", "'lora' stands twice", "rank: unknown key", "did you mean 'adapter'", "tokens: ", "not 7"):
        assert part in said, said
