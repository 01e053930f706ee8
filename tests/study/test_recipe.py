"""What a recipe may not say: each mistake is told before anything runs."""

from __future__ import annotations

import json

import pytest
import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.study import load_recipe, load_sweep
from deltaspace.tasks import TaskSpec, load_task, make_task
from tests.tiny import examples, write_task

BASE = {"model": "model", "deltas": ["lora"], "tasks": {"source": ["one"], "unseen": ["two"]}, "dim": 2}


def load(tmp_path, recipe):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe))
    return load_recipe(path)


def named(name, where="source"):
    return {**BASE, "tasks": {**BASE["tasks"], where: [{"from": "one", "name": name}]}}


WRONG = {
    "true is no d": ({**BASE, "dim": True}, r"dim: should be a whole number \(found True\)"),
    "a float is no d": ({**BASE, "dim": 2.0}, r"dim: should be a whole number \(found 2\.0\)"),
    "a text is no d": ({**BASE, "dim": "2"}, r"dim: should be a whole number"),
    "a d twice": ({**BASE, "dim": [2, 4, 2]}, "2 stands twice"),
    "no d": ({**BASE, "dim": []}, "dim"),
    "true is no seed": ({**BASE, "seed": [True]}, r"seed(\.0)?: should be a whole number"),
    "a seed twice": ({**BASE, "seed": [0, 0]}, "0 stands twice"),
    "a seed below zero": ({**BASE, "seed": -1}, r"seed: .*greater than or equal to 0.*found -1"),
    "true is no number of shots": ({**BASE, "tasks": {**BASE["tasks"], "shots": True}}, r"tasks\.shots: .*whole number"),
    "true is no length": ({**BASE, "max_length": True}, "max_length: .*whole number"),
    "true is no limit": ({**BASE, "limits": {"train": True}}, r"limits\.train: .*whole number"),
    "a key twice": ("model: demo\ndim: 2\ndim: 4\n", r"line 3: dim stands twice(.|\n)*it stands in line 2 too"),
    "a key twice, inside": ("model: demo\ntasks:\n  source: [a]\n  source: [b]\n", "line 4: source stands twice"),
    "a date that is none": ("model: 2024-13-45\n", "2024-13-45 is a date"),
    "a task called like a delta": (named("lora"), "a delta and a task are called 'lora'"),
    "a source task called mean": (named("mean"), "cannot be called 'mean'"),
    "a source task called zero": (named("zero"), "cannot be called 'zero'"),
    "a delta called mean": ({**BASE, "deltas": [{"mean": {"method": "lora"}}]}, "cannot be called 'mean'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(tmp_path, case):
    recipe, message = WRONG[case]
    with pytest.raises(DeltaspaceError, match=message):
        load(tmp_path, recipe)


@pytest.mark.parametrize("name", ["../x", ".hidden", "a\0b", "x" * 300, "\udc80", "a b", "glue/sst2", "", "-x"])
def test_what_is_no_name_of_a_task(tmp_path, name):
    splits = {"train": examples(8), "dev": examples(4), "test": examples(4)}
    with pytest.raises(DeltaspaceError, match="cannot be a task's name"):
        make_task(name, splits, source="made in the test")
    if name:  # by default it is the end of 'from'
        with pytest.raises(DeltaspaceError, match=r"cannot be a task's name|a NUL|half of a character"):
            load(tmp_path, named(name, "unseen"))
    if name == "glue/sst2":
        with pytest.raises(DeltaspaceError, match="such as 'glue-sst2'"):
            load(tmp_path, named(name))


def test_the_default_name_of_a_task_can_be_used(tmp_path):
    for origin, name in (("glue/sst2", "sst2"), ("my reviews/", "my-reviews"), ("../.hidden", "hidden")):
        assert TaskSpec.model_validate(origin).task_name == name
    write_task(tmp_path / "glue" / "sst 2", size=16)
    assert load_task("glue/sst 2", folder=tmp_path).name == "sst-2"


def test_keys_of_anchors_are_no_mistake(tmp_path):
    text = yaml.safe_dump(BASE) + "train: &short {steps: 2}\noptimize: *short\n"
    assert load(tmp_path, text).optimize.steps == 2


def test_a_sweep_s_numbers_are_numbers(tmp_path):
    load(tmp_path, BASE)
    for grids, message in (
        ({"dim": [True]}, "whole number"),
        ({"dim": [2, 2]}, "2 stands twice"),
        ({"source_tasks": [True]}, "whole number"),
        ({"seed": [-1]}, "greater than or equal to 0"),
    ):
        (tmp_path / "sweep.yaml").write_text(json.dumps({"recipe": "recipe.yaml", "grids": grids}))
        with pytest.raises(DeltaspaceError, match=message):
            load_sweep(tmp_path / "sweep.yaml")
