"""Every task that a recipe of ours takes from the Hub, read from small copies in the Hub's layout."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import datasets
import pytest

from deltaspace.errors import DeltaspaceError
from deltaspace.study import load_recipe
from deltaspace.tasks import TaskSpec, load_task
from tests.tasks.layouts import LAYOUTS, made

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted([*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "recipes" / "hub").glob("*.yaml")])


def specs():
    """All different specs of tasks from the Hub, with the recipes that have them."""
    named = {}
    for path in RECIPES:
        recipe = load_recipe(path)
        for spec in (*recipe.tasks.source, *recipe.tasks.unseen):
            if spec.origin.startswith("hub:"):
                named.setdefault(spec.model_dump_json(by_alias=True), (spec, path.name))
    return list(named.values())


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture
def hub(copies, monkeypatch):
    """The Hub as `datasets` shows it, from local copies: the names, configurations and splits are those that the Hub has."""
    real = datasets.load_dataset

    def load(path, config=None, *, split, data_files=None):
        if path == "parquet":
            [[name, url]] = data_files.items()
            found = re.fullmatch(r"hf://datasets/(.+)@refs/convert/parquet/(.+)/(.+)/\*\.parquet", url)
            path, config, base = found.groups()
            assert base == name
        file = made(path, config, re.sub(r"\[.*", "", split), copies)
        return real("parquet", data_files={file.parent.name: str(file)}, split=split, cache_dir=str(copies / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load)


@pytest.mark.parametrize(("spec", "recipe"), specs(), ids=lambda value: value.task_name if isinstance(value, TaskSpec) else "")
def test_every_task_of_a_recipe_is_read_in_the_hubs_layout(spec, recipe, hub):
    task = load_task(spec)
    assert task.name == spec.task_name
    parts = [{example.input for example in task.split(split)} for split in ("train", "dev", "test")]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    if task.kind == "classification":
        assert 2 <= len(task.labels) <= 14
        # Whatever the order on the Hub, every label is trained on.
        assert set(Counter(example.target for example in task.train)) == set(task.labels)
    if spec.columns.options is not None:
        assert task.kind == "multiple_choice"


def test_recipes_agree_on_what_a_task_is():
    """A task of one name is one task, in all recipes for the Hub."""
    known = {}
    for path in sorted((ROOT / "recipes" / "hub").glob("*.yaml")):
        recipe = load_recipe(path)
        for spec in (*recipe.tasks.source, *recipe.tasks.unseen):
            assert known.setdefault(spec.task_name, spec) == spec, (path.name, spec.task_name)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_whose_tasks_lie_in_a_folder_has_a_form_for_the_hub(path):
    recipe = load_recipe(path)
    elsewhere = [spec.origin for spec in (*recipe.tasks.source, *recipe.tasks.unseen) if ":" not in spec.origin]
    if not elsewhere:
        return
    form = load_recipe(ROOT / "recipes" / "hub" / path.name)
    assert form.model_dump(exclude={"tasks"}) == recipe.model_dump(exclude={"tasks"})
    assert abs(len(form.all_tasks) - len(recipe.all_tasks)) <= 3
    assert all(":" in spec.origin for spec in (*form.tasks.source, *form.tasks.unseen))


def test_no_layout_is_left_over():
    used = {tuple(spec.origin.removeprefix("hub:").partition("@")[0].split("/")[:2]) for spec, _ in specs()}
    assert {tuple(path.split("/")) for path, _ in LAYOUTS} == used


def test_a_part_of_a_split_that_is_none_is_told(hub):
    spec = {"from": "hub:stanfordnlp/sst2", "columns": {"input": "sentence"}, "splits": {"train": "train[:nine]", "shuffle": 0}}
    with pytest.raises(DeltaspaceError, match=r"'train\[:nine\]' is no part of a split"):
        load_task(TaskSpec.model_validate(spec))


def test_shuffled_parts_are_the_same_every_time(hub):
    splits = {"train": "train[:50%]", "dev": "train[50%:]", "test": "validation", "shuffle": 3}
    spec = TaskSpec.model_validate({"from": "hub:stanfordnlp/sst2", "columns": {"input": "sentence"}, "splits": splits})
    first, again = load_task(spec), load_task(spec)
    assert first.fingerprint == again.fingerprint
    inputs = [example.input for example in first.train]
    assert inputs != sorted(inputs, key=lambda text: int(text.split()[-1]))
