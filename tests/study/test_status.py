"""`deltaspace status`: while a run goes on and when none does, for people and as JSON."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.study import Artefact, Observer, Serial, Worker, Workers, load_recipe, read_status, run_study
from deltaspace.study.folder import Folder
from deltaspace.study.history import logged
from deltaspace.study.live import _Telling, live, read_live
from deltaspace.study.lock import holder, locked
from tests.tiny import write_example

PATH = "independent/lora/source/0.safetensors"


def said(study, capsys, *words):
    capsys.readouterr()
    app(["status", str(study), *words], standalone_mode=False)
    return capsys.readouterr().out


class Asking(Observer):
    """Asks in the middle of a run how it is."""

    def __init__(self, study, capsys):
        self.study_folder, self.capsys, self.told = study, capsys, []

    def start(self, artefact, reason):
        if artefact.path == PATH:
            self.told = [said(self.study_folder, self.capsys, *words) for words in ([], ["--json"])]


def test_a_run_under_way_and_after_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deltaspace.study.live._EVERY_SECONDS", -1.0)
    recipe, out = load_recipe(write_example(tmp_path)), tmp_path / "study"
    asking = Asking(out, capsys)
    run_study(recipe, out, until="zero_shot")
    assert "not everything is there, and no run is going on (the last one: finished)" in said(out, capsys)
    run_study(recipe, out, observer=asking)
    text, told = asking.told[0], json.loads(asking.told[1])
    assert "What is being made" in text and PATH[:20] in text
    assert f"run by {told['holder']}" in text and "there: 5 of 18 artefacts, 1 being made" in text
    [running] = told["live"]["running"]
    assert running["artefact"] == PATH and running["worker"] == "" and running["steps"] == 0
    assert told["live"]["todo"] == 14 and not told["complete"]
    counts = {stage["stage"]: (stage["valid"], stage["missing"]) for stage in told["stages"]}
    assert counts["zero-shot"] == (4, 0) and counts["transfer"] == (0, 2)
    after = read_status(out)
    assert after.complete and after.holder is None and after.live is None and after.ended == "finished"
    assert "everything is there; no run is going on" in said(out, capsys)
    assert not Folder(out).live.exists()


class Joined(Observer):
    """Asks when another run has made something of the study, and is making something else."""

    def __init__(self, study, capsys, whole):
        self.study_folder, self.capsys, self.whole, self.told = study, capsys, whole, ""

    def start(self, artefact, reason):
        if artefact.path == PATH:
            made, making = (f"independent/{delta}/unseen/0.safetensors" for delta in ("adapter", "lora"))
            assert not (self.study_folder / made).exists()
            (self.study_folder / made).parent.mkdir(parents=True)
            shutil.copy(self.whole / made, self.study_folder / made)
            with Folder(self.study_folder).claims.held(making):
                self.told = said(self.study_folder, self.capsys)


def test_what_a_run_beside_this_one_made_counts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deltaspace.study.live._EVERY_SECONDS", -1.0)
    recipe, whole, out = load_recipe(write_example(tmp_path)), tmp_path / "whole", tmp_path / "study"
    run_study(recipe, whole)
    run_study(recipe, out, until="zero_shot")
    joined = Joined(out, capsys, whole)
    run_study(recipe, out, observer=joined)
    # Four of the zero shots, that which this run has made, and that which the other one has.
    assert "there: 6 of 18 artefacts, 2 being made" in joined.told and "independent/lora/un" in joined.told
    assert json.loads(said(out, capsys, "--json"))["complete"]


def test_what_failed_is_told_until_it_is_there(tmp_path):
    recipe, out = load_recipe(write_example(tmp_path)), tmp_path / "study"
    run_study(recipe, out, until="zero_shot")
    lost = Artefact("independent", ("lora", "source", 0), PATH)
    with pytest.raises(RuntimeError), logged(out, None, Observer()) as log:
        log.failed(lost, "killed", again=True)
        log.failed(lost, "killed by SIGKILL", again=False)
        raise RuntimeError
    status = read_status(out)
    assert status.failed == {PATH: "killed by SIGKILL"} and status.ended == "failed"
    run_study(recipe, out, until="independent")
    assert read_status(out).failed == {}


def test_each_worker_has_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.study.live._EVERY_SECONDS", -1.0)
    folder, workers = Folder(tmp_path), (Worker("here", 1), Worker("there", 2))
    artefacts = [Artefact("independent", ("lora", task, 0), f"independent/lora/{task}/0.safetensors") for task in "ab"]
    with live(folder) as telling:
        assert read_live(folder) is None
        telling.plan(5, 0)
        for worker, artefact in zip(workers, artefacts, strict=True):
            telling.worker(worker)
            telling.start(artefact, "missing")
        telling.left(12.34)
        telling.progress(3, 9, "best on dev 1.0")
        told = read_live(folder)
        assert [(job.artefact, job.worker, job.step) for job in told.running] == [
            (artefacts[0].path, "process 1 on here", 0),
            (artefacts[1].path, "process 2 on there", 3),
        ]
        assert (told.todo, told.done, told.seconds_left) == (5, 0, 12.3)
        telling.failed(artefacts[1], "it died", again=False)
        telling.worker(workers[0])
        telling.end(artefacts[0])
        told = read_live(folder)
        assert told.running == [] and told.done == 1 and told.failed == {artefacts[1].path: "it died"}
        folder.live.write_text('{"started": 1}')
        with pytest.raises(DeltaspaceError, match="is damaged"):
            read_live(folder)
    assert not folder.live.exists()


def test_the_file_is_not_written_at_every_step(tmp_path, monkeypatch):
    writes = []
    monkeypatch.setattr("deltaspace.study.live.write_json", lambda *_: writes.append(1))
    telling = _Telling(Folder(tmp_path))
    telling.start(Artefact("independent", ("lora", "a", 0), PATH), "missing")
    for step in range(1000):
        telling.progress(step, 1000, "")
    assert len(writes) == 1


def test_asking_who_holds_a_study_neither_waits_nor_refuses_a_run(tmp_path):
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert "process" in holder(tmp_path)
        started = time.monotonic()
        with pytest.raises(DeltaspaceError, match="another process"):
            locked(tmp_path).__enter__()
        assert time.monotonic() - started > 0.1  # it may be somebody who only asks
    assert holder(tmp_path) is None


def test_a_folder_that_is_no_study_is_told(tmp_path, capsys):
    with pytest.raises(DeltaspaceError, match="is not a study"):
        said(tmp_path, capsys)


class Counting(Observer):
    """Counts what a run was to make, and what it says is there."""

    def __init__(self):
        self.todo, self.ended, self.elsewhere_made = 0, [], []

    def plan(self, todo, done):
        self.todo = todo

    def end(self, artefact):
        self.ended.append(artefact.path)

    def elsewhere(self, artefact):
        self.elsewhere_made.append(artefact.path)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_brought_back_counts_as_there(tmp_path, workers):
    """Trained with other steps and then with the first ones again, the first solutions come back, and the count is whole."""
    path, out = write_example(tmp_path), tmp_path / "study"
    first, told = load_recipe(path), Counting()
    run_study(first, out, until="independent")
    other = first.model_copy(update={"train": first.train.model_copy(update={"steps": first.train.steps + 1})})
    run_study(other, out, until="independent")
    engine = Workers(1) if workers else Serial()
    assert run_study(first, out, until="independent", observer=told, engine=engine) == 0
    assert told.todo == len(told.elsewhere_made) > 0 and told.ended == []
