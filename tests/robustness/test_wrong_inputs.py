"""Every wrong input ends with one message that says what and where, exit code 2 and no traceback, in bounded time."""

from __future__ import annotations

import faulthandler
import shutil
import signal
import sys
import time

import pytest

from deltaspace.cli import main
from deltaspace.study import read_subspace
from deltaspace.subspace.folder import save_subspace
from tests.robustness.wrong_files import INPUTS, JSON_INPUTS, MANIFESTS, POINTS, SWEEPS, TASK_FILES
from tests.robustness.wrong_options import WORDS
from tests.robustness.wrong_recipes import DELTAS, FILES, KEYS, LANDSCAPES, TASKS, YAML, recipe
from tests.tiny import save_tiny, write_task

_SECONDS = 10


@pytest.fixture(scope="module")
def place(tmp_path_factory, study):
    """A folder with a model, two tasks, a right recipe and sweep, and a study's subspace as a folder."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny("bert", folder / "model")
    write_task(folder / "one")
    write_task(folder / "two")
    (folder / "recipe.yaml").write_text(recipe("dim: 2"))
    (folder / "sweep.yaml").write_text("recipe: recipe.yaml\ngrids: {dim: [2]}\n")
    save_subspace(read_subspace(study), folder / "exported")
    return folder


@pytest.fixture
def ends(place, monkeypatch, capfd):
    """Runs the command line in that folder; what its one message says."""

    def run(*words):
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["deltaspace", *map(str, words)])
        signal.signal(signal.SIGALRM, lambda *_: faulthandler.dump_traceback())
        started = time.monotonic()
        with pytest.raises(SystemExit) as ended:
            main()
        spent = time.monotonic() - started
        out, err = capfd.readouterr()
        assert ended.value.code == 2, out + err
        assert "Traceback" not in err and len(err) < 20_000
        assert spent < _SECONDS
        return " ".join(err.replace("│", " ").split())

    return run


def short(rows):
    return [pytest.param(*row, id=f"{index}-{str(row[0])[:60]!r}") for index, row in enumerate(rows)]


@pytest.mark.parametrize(("lines", "phrase"), short([*KEYS, *DELTAS, *TASKS, *LANDSCAPES, *YAML]))
def test_recipe(place, ends, lines, phrase):
    (place / "wrong.yaml").write_text(recipe(lines), encoding="utf-8")
    assert phrase in ends("check", "wrong.yaml")


@pytest.mark.parametrize(("content", "phrase"), short(FILES))
def test_file_that_is_no_recipe(place, ends, content, phrase):
    (place / "wrong.yaml").write_bytes(content)
    assert phrase in ends("check", "wrong.yaml")


@pytest.mark.parametrize(("content", "phrase"), short(TASK_FILES))
def test_task_file(place, ends, content, phrase):
    shutil.copytree(place / "two", place / "three", dirs_exist_ok=True)
    path = place / "three" / "train.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (place / "wrong.yaml").write_text(recipe("tasks: {source: [one], unseen: [three]}"))
    try:
        assert phrase in ends("check", "wrong.yaml")
    finally:
        shutil.rmtree(place / "three")


@pytest.mark.parametrize(("content", "phrase"), short(MANIFESTS))
def test_manifest(place, ends, content, phrase):
    (place / "manifest.json").write_bytes(content)
    try:
        assert phrase in ends("check", "recipe.yaml")
    finally:
        (place / "manifest.json").unlink()


@pytest.mark.parametrize(("content", "phrase"), short(SWEEPS))
def test_sweep(place, ends, content, phrase):
    (place / "wrong.yaml").write_text(content)
    assert phrase in ends("sweep", "wrong.yaml", "-o", place / "swept")
    assert not (place / "swept").exists()


@pytest.mark.parametrize(("content", "phrase"), short(POINTS))
def test_points_of_a_sweep(place, ends, content, phrase):
    (place / "points").mkdir(exist_ok=True)
    (place / "points" / "sweep.yaml").write_text(content)
    assert phrase in ends("show", place / "points")


@pytest.mark.parametrize("verb", ["translate", "probe"])
@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [(name, *row) for name, rows in (("texts.txt", INPUTS), ("texts.jsonl", JSON_INPUTS)) for row in rows],
    ids=lambda value: repr(value)[:40],
)
def test_inputs(place, study, ends, name, content, phrase, verb):
    path = place / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    if verb == "translate":
        said = ends("translate", study, *"--task three --from lora --to prefix --inputs".split(), path)
    else:
        (place / "wrong.yaml").write_text(recipe(f"projection: {{aligned: {{probe: {name}}}}}"))
        said = ends("check", "wrong.yaml")
    assert phrase in said


@pytest.mark.parametrize(("words", "phrase"), short(WORDS))
def test_words(place, study, ends, words, phrase):
    listed = [{"STUDY": study, "EXPORTED": place / "exported"}.get(word, word) for word in words.split(" ")]
    assert phrase in ends(*listed)
    assert not (place / "x").exists() and not (place / "x.png").exists()
