"""A recipe's tasks, fetched once."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.study import fetch_tasks, load_recipe
from deltaspace.study.resources import load_tasks
from tests.tiny import write_task


@pytest.fixture
def recipe(tmp_path):
    """A recipe with a data set in the Hub's layout, and a folder."""
    for split, label in (("train", 0), ("validation", 1), ("test", 2)):
        rows = [{"text": f"film {i}", "stars": (i + label) % 2} for i in range(12)]
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_task(tmp_path / "films", size=20)
    hub = {"from": "hub:set", "name": "stars", "columns": {"target": "stars", "values": {"0": "bad", "1": "good"}}}
    said = {
        "model": "demo",
        "deltas": ["lora"],
        "tasks": {
            "source": [hub | {"labels": {"bad": "poor", "good": "great"}, "prompt": "{input} It was {mask}."}],
            "unseen": ["films"],
            "shots": 4,
        },
        "limits": {"train": 10},
        "dim": 1,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said))
    return tmp_path / "recipe.yaml"


def test_fetched_tasks_are_the_same_tasks(recipe, tmp_path):
    tasks, fetched = fetch_tasks(load_recipe(recipe), tmp_path / "here")
    assert fetched
    there = load_tasks(load_recipe(tmp_path / "here" / "recipe.yaml"))
    asked = load_tasks(load_recipe(recipe))
    assert {name: task.fingerprint for name, task in there.items()} == {name: task.fingerprint for name, task in asked.items()}
    assert [task.name for task in tasks] == ["stars", "films"]
    assert len(tasks[0].train) == 10 and tasks[0].labels == {"bad": "poor", "good": "great"}
    assert "hub:set" in (tmp_path / "here" / "README.md").read_text()


def test_they_are_fetched_once_and_checked_whenever_they_are_read(recipe, tmp_path):
    folder = tmp_path / "here"
    fetch_tasks(load_recipe(recipe), str(folder))
    before = (folder / "manifest.json").stat().st_mtime_ns
    (tmp_path / "set" / "train.jsonl").unlink()  # as if the network were gone
    assert fetch_tasks(load_recipe(recipe), folder)[1] is False
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    recipe.write_text(recipe.read_text().replace("dim: 1", "dim: 2"))
    assert fetch_tasks(load_recipe(recipe), folder)[1] is False
    assert load_recipe(folder / "recipe.yaml").dim == (2,)
    file = folder / "films" / "dev.jsonl"
    file.write_text(file.read_text().replace("sad", "happy"))
    with pytest.raises(DeltaspaceError, match=r"dev.jsonl is not the file that was fetched"):
        fetch_tasks(load_recipe(recipe), folder)


def test_a_fetch_never_takes_the_place_of_other_files(recipe, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(DeltaspaceError, match=r"thesis.txt is there"):
        fetch_tasks(load_recipe(recipe), tmp_path / "full")


def test_the_verb_lists_previews_and_fetches(recipe, tmp_path):
    shown = CliRunner().invoke(app, ["tasks", str(recipe), "--preview", "2"])
    assert shown.exit_code == 0, shown.output
    assert "bad, good" in shown.output and "film 0" in shown.output and "-> bad" in shown.output
    said = json.loads(CliRunner().invoke(app, ["tasks", str(recipe), "--json"]).stdout)
    assert [(task["name"], task["role"], task["sizes"]["train"]) for task in said] == [
        ("stars", "source", 10),
        ("films", "unseen", 4),
    ]
    folder = tmp_path / "tasks"
    for told in ("2 tasks written", "has these tasks already"):
        output = CliRunner().invoke(app, ["tasks", str(recipe), "--fetch", str(folder)]).output
        assert told in output and f"deltaspace run {folder / 'recipe.yaml'}" in output


def test_without_a_network_one_message_says_what_to_do(recipe):
    said = yaml.safe_load(recipe.read_text())
    said["tasks"]["source"][0]["from"] = "hub:somebody/stars"
    recipe.write_text(yaml.safe_dump(said))
    with pytest.raises(DeltaspaceError, match=r"(?s)hub:somebody/stars.*mend: .*deltaspace tasks RECIPE --fetch FOLDER"):
        load_tasks(load_recipe(recipe))
