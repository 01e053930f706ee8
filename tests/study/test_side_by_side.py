"""A study whose trainings share passes of the model: the same rows, and nothing is lost by a mistake or a kill."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch

from deltaspace.cli import main
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import Interrupted
from deltaspace.study import (
    Observer,
    Serial,
    load_recipe,
    load_sweep,
    read_history,
    read_scores,
    read_sweep_scores,
    run_study,
    run_sweep,
)
from deltaspace.study.graph import Graph
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.training import loop
from tests.study.example import longer
from tests.tiny import write_example, write_task

TASKS = {"source": ["source", "second", "third"], "unseen": ["unseen", "other"]}


class Log(Observer):
    def __init__(self):
        self.texts, self.ended, self.notes = [], [], []

    def progress(self, step, steps, text):
        self.texts.append(text)

    def end(self, artefact):
        self.ended.append(artefact.path)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("beside")
    path = longer(
        write_example(root),
        tasks=TASKS,
        optimize={"steps": 6, "lr": 0.1, "batch_size": 4, "agreement": 2.0},
        rivals=["random", "lora-1", "unilora"],
    )
    for size, name in enumerate(("second", "third", "other"), start=20):
        write_task(root / name, size=size)
    return path


@pytest.fixture(scope="module")
def alone(recipe):
    out = recipe.parent / "alone"
    run_study(load_recipe(recipe), out)
    return rows(out)


def rows(out):
    scores = read_scores(out)
    return {(row.stage, row.task, row.delta, row.source_delta, row.dim, row.rival): row.score for row in scores}


def test_the_rows_are_those_of_one_after_another(recipe, alone, tmp_path):
    log = Log()
    made = run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=3), observer=log)
    assert rows(tmp_path / "out") == pytest.approx(alone, abs=1e-3)
    assert made == len(log.ended) == len(set(log.ended))
    assert any(text.endswith("(3 side by side)") for text in log.texts)
    # What comes after the first of a group has taken no time of its own; all are counted.
    [record] = read_history(tmp_path / "out")
    assert record.artefacts["independent solutions"] == Counter(path.split("/")[0] for path in log.ended)["independent"]
    assert run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=3)) == 0


def test_a_mistake_is_told_of_the_one_that_has_it(recipe, tmp_path, monkeypatch):
    make_each, log = INDEPENDENT.make_each, Log()

    def faulty(resources, keys, resumes):
        if any(key.task == "third" for key in keys):
            raise DeltaspaceError("the training diverged at step 3" if len(keys) == 1 else "one of them diverged")
        return make_each(resources, keys, resumes)

    monkeypatch.setattr(INDEPENDENT, "make_each", faulty)
    with pytest.raises(DeltaspaceError, match="diverged at step 3"):
        run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=4), observer=log)
    assert any("made one by one: one of them diverged" in note for note in log.notes)
    assert "independent/adapter/source/0.safetensors" in log.ended


def test_what_was_made_before_a_mistake_stays(recipe, tmp_path, monkeypatch):
    make_each, log = INDEPENDENT.make_each, Log()

    def faulty(resources, keys, resumes):
        for key, content in zip(keys, make_each(resources, keys, resumes), strict=True):
            if key.task == "second":
                raise DeltaspaceError("the disk is full" if len(keys) == 1 else "the disk is nearly full")
            yield content

    monkeypatch.setattr(INDEPENDENT, "make_each", faulty)
    with pytest.raises(DeltaspaceError, match="the disk is full"):
        run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=3), observer=log)
    # Of the group the first was kept as soon as it was there, and is made once.
    first = "independent/adapter/source/0.safetensors"
    assert log.ended.count(first) == 1
    assert (tmp_path / "out" / first).exists() and len(log.ended) == len(set(log.ended))


def test_too_little_memory_for_all_is_no_end(recipe, alone, tmp_path, monkeypatch):
    make_each = Graph.make_each

    def small(self, artefacts, observer):
        if len(artefacts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make_each(self, artefacts, observer)

    monkeypatch.setattr(Graph, "make_each", small)
    log = Log()
    run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=3), observer=log)
    assert rows(tmp_path / "out") == pytest.approx(alone, abs=1e-3)
    assert any("more memory than there is" in note for note in log.notes)


def test_a_killed_run_goes_on(recipe, alone, tmp_path, monkeypatch):
    class Killer(Observer):
        def progress(self, step, steps, text):
            if step == 6 and "side by side" in text:
                raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_SAVE_SECONDS", -1.0)
        with pytest.raises(Interrupted):
            run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=3), observer=Killer())
    assert len(list((tmp_path / "out" / ".running").rglob("*.safetensors"))) == 3
    run_study(load_recipe(recipe), tmp_path / "out", engine=Serial(side_by_side=2))
    assert rows(tmp_path / "out") == pytest.approx(alone, abs=1e-3)


def test_a_sweep_takes_it_too(recipe, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps({"recipe": str(recipe), "grids": [{"projection": ["svd"], "dim": [1, 2]}]}))
    log = Log()
    run_sweep(*load_sweep(path), tmp_path / "beside", engine=Serial(side_by_side=3), observer=log)
    assert any("side by side" in text for text in log.texts)
    run_sweep(*load_sweep(path), tmp_path / "alone")
    beside, single = (
        {(row.stage, row.task, row.delta, row.source_delta, row.dim): row.score for row in read_sweep_scores(tmp_path / name)}
        for name in ("beside", "alone")
    )
    assert beside == pytest.approx(single, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--side-by-side", "2", "--workers", "2"], "--side-by-side is of one process"),
        (["--side-by-side", "0"], "--side-by-side"),
    ],
)
def test_what_cannot_be_is_told(recipe, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr("sys.argv", ["deltaspace", "run", str(recipe), "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_fewer_than_one_cannot_be():
    with pytest.raises(DeltaspaceError, match="0 trainings side by side cannot be"):
        Serial(side_by_side=0)
