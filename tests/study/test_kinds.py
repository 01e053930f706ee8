"""What was given for something else is named, with what was expected and how to go on, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from deltaspace.cli import main

VERBS = {
    "recipe": ("run {} -o new", "train {} -o new", "check {}", "tasks {}"),
    "sweep": ("sweep {} -o new",),
    "study": ("show {}", "status {}", "figure map {} -o map.png", "landscape {} --task one", "import {} peft"),
}
# What is given: what it is called, and how to go on where a recipe, a sweep and a study are wanted; None where it is right.
GIVEN = {
    "study": ("a study's folder", "its recipe is study/recipe.yaml", "recipe: study/recipe.yaml", None),
    "study/subspace": ("of the study", "study/recipe.yaml", "docs/sweeps.md", "name the study's folder"),
    "study/subspace/3/0.safetensors": ("of the study", "study/recipe.yaml", "docs/sweeps.md", "name the study's folder"),
    "study/recipe.yaml": ("recipe", None, "deltaspace run", "name the study's folder: study"),
    "sweeps": ("a sweep's folder", "sweep was run from", "sweep was run from", None),
    "exported": ("an exported subspace", "deltaspace init", "docs/sweeps.md", "deltaspace info"),
    "peft": ("a checkpoint of peft", "import STUDY peft", "import STUDY peft", "import STUDY peft"),
    "zoo": ("2 checkpoints of peft", "import STUDY zoo/*", "import STUDY zoo/*", "import STUDY zoo/*"),
    "manifest.json": ("manifest|a file", "import STUDY manifest.json", "import STUDY manifest.json", "deltaspace run"),
    "tasks": ("2 tasks", "init MODEL tasks", "docs/sweeps.md", "init MODEL tasks"),
    "tasks/one": ("a task's folder", "init MODEL tasks/one", "docs/sweeps.md", "init MODEL tasks/one"),
    "reviews.csv": ("a CSV file", "init MODEL reviews.csv", "docs/sweeps.md", "init MODEL reviews.csv"),
    "model": ("a model's folder", "init model TASKS", "docs/sweeps.md", "init model TASKS"),
    "small.gguf": ("a GGUF file", "init small.gguf TASKS", "docs/sweeps.md", "init small.gguf TASKS"),
    "sweep.yml": ("a sweep|a YAML file", "deltaspace sweep sweep.yml", None, "deltaspace run"),
    "other": ("holds notes.txt", "deltaspace init", "docs/sweeps.md", "deltaspace run"),
    "nothing": ("No such file|no such folder", "deltaspace init", "docs/sweeps.md", "deltaspace run"),
    "-": ("No such file|no such folder", "standard input", "standard input", "standard input"),
}
CASES = [
    (verb, given, GIVEN[given][0], mend)
    for (wanted, verbs), column in zip(VERBS.items(), (1, 2, 3), strict=True)
    for verb in verbs
    for given in GIVEN
    if (mend := GIVEN[given][column]) is not None
]


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A folder with everything that can be mistaken for something else; no file that is more than its name and first keys."""
    folder = tmp_path_factory.mktemp("kinds")
    recipe = yaml.safe_dump({"model": "model", "deltas": ["lora"], "tasks": {"source": ["one"], "unseen": ["two"]}, "dim": 2})
    files = {
        "study/recipe.yaml": recipe,
        "study/runs.json": "[]",
        "study/subspace/3/0.safetensors": "",
        "sweeps/sweep.yaml": "[]",
        "exported/subspace.json": "{}",
        "peft/adapter_config.json": "{}",
        "zoo/a/adapter_config.json": "{}",
        "zoo/b/adapter_config.json": "{}",
        "manifest.json": json.dumps({"one": "zoo/a", "two": {"folder": "zoo/b", "task": "two"}}),
        "tasks/one/train.jsonl": "",
        "tasks/two/train.csv": "",
        "reviews.csv": "text,label\n",
        "model/config.json": "{}",
        "small.gguf": "GGUF\x03",
        "sweep.yml": "recipe: recipe.yaml\ngrids: {dim: [2]}\n",
        "other/notes.txt": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("verb", "given", "found", "mend"), CASES)
def test_what_was_given_is_named_and_how_to_go_on(things, verb, given, found, mend, monkeypatch, capsys):
    if verb.startswith("import") and not Path(things / given).exists():
        found, mend = "has no recipe yet", "--recipe RECIPE"
    monkeypatch.chdir(things)
    monkeypatch.setattr("sys.argv", ["deltaspace", *verb.format(given).split(" ")])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in said
    assert any(words in said for words in found.split("|")), said
    assert given in said and "expected:" in said and mend in said.split("mend:")[-1], said
    assert not (things / "new").exists()
