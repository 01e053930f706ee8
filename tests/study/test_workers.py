"""Several processes make one study: the same rows and tensors as one does, whatever dies or fails on the way."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

import deltaspace.study.engines.workers as engine_of_workers
from deltaspace.cli.progress import Bars
from deltaspace.errors import DeltaspaceError
from deltaspace.study import Observer, Ray, Workers, load_recipe, load_sweep, read_history, read_status, run_study, run_sweep
from deltaspace.study.engines.failures import ArtefactsFailed
from deltaspace.study.engines.workers import worker_environment
from tests.robustness.test_kills import contents
from tests.tiny import write_example


class Log(Observer):
    """What an observer of several workers is told, and whether each word fits the one before of the same worker."""

    def __init__(self):
        self.by, self.at, self.ended, self.failures, self.notes, self.lefts = {}, None, [], [], [], []

    def worker(self, worker):
        self.at = worker

    def start(self, artefact, reason):
        assert self.by.get(self.at) is None
        self.by[self.at] = artefact.path

    def progress(self, step, steps, text):
        assert self.by[self.at] is not None

    def end(self, artefact):
        assert self.by.pop(self.at) == artefact.path
        self.ended.append(artefact.path)

    def failed(self, artefact, why, *, again):
        self.by.pop(self.at, None)
        self.failures.append((artefact.path, why, again))

    def left(self, seconds):
        self.lefts.append(seconds)

    def note(self, text):
        self.notes.append(text)


def test_workers_make_what_one_process_makes_bit_for_bit(example, tmp_path):
    recipe, wanted = example
    log = Log()
    made = run_study(load_recipe(recipe), tmp_path / "study", observer=log, engine=Workers(2))
    assert contents(tmp_path / "study") == wanted
    assert made == len(log.ended) == len(set(log.ended)) == 18
    assert log.by == {} and log.failures == [] and log.lefts[-1] == pytest.approx(0.0)
    [record] = read_history(tmp_path / "study")
    assert record.ended == "finished" and record.failed == {} and len(record.workers) == 2
    assert sum(sum(made.values()) for made in record.workers.values()) == 18
    assert run_study(load_recipe(recipe), tmp_path / "study", engine=Workers(2)) == 0


def start(packages, *words):
    # One thread, as in this process: with more, whatever may have all cores would add in another order.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "deltaspace", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_whatever_fails_everything_else_goes_on_and_the_end_says_what_failed_and_why(packages, tmp_path):
    recipe, out = write_example(tmp_path), tmp_path / "study"
    said = json.loads(recipe.read_text())
    recipe.write_text(json.dumps({**said, "family": "masked_encoder"}))
    words = ("train", recipe, "--out", out, "--workers", "2", "--max-retries", "1")
    process = start(packages, *words)
    _, told = process.communicate(timeout=500)
    assert process.returncode == 1, told
    tries = {way: len((tmp_path / f"tries-{way}").read_text()) for way in ("mistaken", "wrong", "dying", "fine")}
    assert tries == {"mistaken": 1, "wrong": 2, "dying": 2, "fine": 1}
    assert "2 artefacts could not be made, nor 2 made from them" in told
    assert "faulty/mistaken/0.safetensors: this cannot be; found: 1; expected: 2; mend: take 2" in told
    assert "faulty/wrong/0.safetensors: ValueError: something is wrong (begun 2 times)" in told
    assert 'raise ValueError("something is wrong")' in told  # where
    assert re.search(r"faulty/dying/0\.safetensors is begun again: its worker, process \d+ on .+, was killed by SIGKILL", told)
    for way in ("dying", "fine"):
        assert (out / f"behind/{way}/0.safetensors").exists()
    assert len(list((out / "independent").rglob("*.safetensors"))) == 4
    [record] = read_history(out)
    assert record.ended == "failed"
    assert {path: why.split(":")[0] for path, why in record.failed.items()} == {
        "faulty/mistaken/0.safetensors": "this cannot be; found",
        "faulty/wrong/0.safetensors": "ValueError",
    }
    # The next run makes only that; what is a user's mistake alone ends with code 2.
    (tmp_path / "model" / "mended").touch()
    (out / "faulty/fine/0.safetensors").unlink()
    process = start(packages, *words)
    made, told = process.communicate(timeout=500)
    assert process.returncode == 0, told
    assert f"{out}: 5 made" in made


def test_users_mistakes_alone_end_as_such(tmp_path):
    """Here: a worker that sees other files than the run."""
    recipe, out = load_recipe(write_example(tmp_path)), tmp_path / "study"

    class Change(Observer):
        # A worker reads the tasks when it begins: it would make something else than what was asked for.
        def plan(self, todo, done):
            path = tmp_path / "source" / "train.jsonl"
            path.write_text(path.read_text().replace("good", "fine", 1))

    with pytest.raises(DeltaspaceError, match=r"4 artefacts could not be made\n[^$]*something else on") as told:
        run_study(recipe, out, until="independent", observer=Change(), engine=Workers(1))
    assert "have the same model, tasks and version of deltaspace on every machine" in str(told.value)
    assert len(list((out / "independent").rglob("*.safetensors"))) == 2  # of the other task


def processes_of(text):
    return {int(number) for number in re.findall(r"\), process (\d+) on ", text)}


def living(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_until(process, count, workers=0):
    """What a run prints until some artefacts are begun, by so many workers: one may be through several before another begins."""
    told = ""
    while told.count("(missing)") < count or len(processes_of(told)) < workers:
        line = process.stderr.readline()
        assert line, told
        told += line
    return told


def gone(numbers, seconds=60):
    end = time.monotonic() + seconds
    while any(map(living, numbers)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(living, numbers))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_workers_end_with_their_driver_and_the_next_run_goes_on(example, tmp_path, packages, number):
    recipe, wanted = example
    out = tmp_path / "study"
    process = start(packages, "run", recipe, "--out", out, "--workers", "2")
    workers = processes_of(read_until(process, 4, workers=2))
    assert len(workers) == 2 and all(map(living, workers))
    os.kill(process.pid, number)
    told = process.communicate(timeout=500)[1]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), told
    assert gone(workers)
    assert "Traceback" not in told
    if number != signal.SIGKILL:
        assert f"interrupted by {number.name}: what is finished is kept" in told
        assert read_history(out)[-1].ended == f"interrupted by {number.name}"
    status = read_status(out)
    assert status.holder is None and not status.complete
    run_study(load_recipe(recipe), out)
    assert contents(out) == wanted


def test_the_workers_of_a_sweep_serve_all_of_its_points(tmp_path):
    write_example(tmp_path)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": "recipe.yaml", "grids": {"dim": [1, 2]}}))
    sweep = load_sweep(tmp_path / "sweep.yaml")
    log = Log()
    made = run_sweep(*sweep, tmp_path / "workers", observer=log, engine=Workers(1))
    histories = [read_history(path.parent) for path in sorted((tmp_path / "workers").glob("*/runs.json"))]
    assert len(histories) == 3 and len({worker for [record] in histories for worker in record.workers}) == 1
    assert made == run_sweep(*sweep, tmp_path / "serial")
    assert contents(tmp_path / "workers") == contents(tmp_path / "serial")


def test_a_worker_that_cannot_begin_ends_the_run(example, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(engine_of_workers, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(ArtefactsFailed, match="workers end before they begin: the last one ended with code 7"):
        run_study(load_recipe(example[0]), tmp_path / "study", engine=Workers(1, max_retries=9))


def test_as_many_workers_as_cores_and_memory_allow(example, tmp_path, monkeypatch):
    from deltaspace.study.engines.threads import Threads
    from deltaspace.study.folder import Folder
    from deltaspace.study.graph import Graph
    from deltaspace.study.resources import Resources

    graph, log = Graph(Resources(load_recipe(example[0]), Folder(tmp_path))), Log()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(engine_of_workers, "peak_bytes", lambda: 10**9)
    monkeypatch.setattr(engine_of_workers, "free_bytes", lambda device: 5 * 10**9 + 1)
    assert engine_of_workers._count(None, Threads(1, 1), graph, log) == 5
    assert engine_of_workers._count(None, Threads(4, 1), graph, log) == 2
    assert engine_of_workers._count(9, Threads(1, 1), graph, log) == 5
    assert engine_of_workers._count(3, Threads(1, 1), graph, log) == 3
    assert log.notes == [
        "5 workers of 1 thread: 8 cores; each takes about 1.0 GB, and 5.0 GB are free",
        "2 workers of 4 threads: 8 cores; each takes about 1.0 GB, and 5.0 GB are free",
        "5 workers in place of 9: each takes about 1.0 GB, and 5.0 GB are free",
    ]
    monkeypatch.setattr(engine_of_workers, "free_bytes", lambda device: 1)
    assert engine_of_workers._count(None, Threads(1, 1), graph, log) == 1


def test_gpus_are_dealt_out_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [worker_environment(number, 1, 2)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [worker_environment(number, 1, 2)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["4", "7", "4"]
    assert worker_environment(0, 3, 1)["CUDA_VISIBLE_DEVICES"] == "4,7"
    assert worker_environment(0, 3, 1)["OMP_NUM_THREADS"] == "3"


WRONG_WORDS = [
    ["--workers", "0"],
    ["--workers", "two"],
    ["--workers", "²"],
    ["--threads", "0"],
    ["--workers", "1", "--max-retries", "-1"],
    ["--workers", "1", "--max-retries", "many"],
]


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_wrong_numbers_of_workers_are_refused(example, tmp_path, words, capsys):
    from deltaspace.cli import app

    with pytest.raises((DeltaspaceError, SystemExit)) as told:
        app(["run", str(example[0]), "--out", str(tmp_path / "study"), *words])
    assert not (tmp_path / "study").exists()
    assert isinstance(told.value, DeltaspaceError) or told.value.code == 2


def test_how_often_an_artefact_is_begun_again_is_asked_for(monkeypatch):
    from deltaspace.cli import _engines

    assert _engines._chosen(workers="2", max_retries=0).max_retries == 0
    assert _engines._chosen(workers="2").max_retries == engine_of_workers.MAX_RETRIES
    monkeypatch.setattr("deltaspace.study.engines.ray.find_spec", lambda name: name)
    assert _engines._chosen(ray="auto", max_retries=7).max_retries == 7
    with pytest.raises(DeltaspaceError, match="--max-retries is for --workers and --ray"):
        _engines._chosen(max_retries=1)
    for engine in (Workers, Ray):
        with pytest.raises(DeltaspaceError, match="max retries: -1 cannot be"):
            engine(max_retries=-1)


def test_every_verb_that_has_engines_says_how_often_things_are_begun_again(capsys):
    from deltaspace.cli import app

    for verb in ("run", "train", "approximate", "optimize", "transfer", "sweep", "demo"):
        with pytest.raises(SystemExit) as ended:
            app([verb, "--help"])
        assert ended.value.code == 0
        assert "--max-retries" in capsys.readouterr().out, verb


def test_the_bars_have_a_line_for_each_worker(example):
    from rich.console import Console

    from deltaspace.study import Artefact, Worker

    bars = Bars(Console(force_terminal=True, width=120, file=io.StringIO()))
    first, second = Worker("here", 1), Worker("there", 2)
    made = [Artefact("independent", ("lora", task, 0), f"independent/lora/{task}/0.safetensors") for task in "ab"]
    with bars:
        bars.plan(2, 0)
        for worker, artefact in zip((first, second), made, strict=True):
            bars.worker(worker)
            bars.start(artefact, "missing")
            bars.progress(1, 10, "best on dev 50.0")
        lines = {task.description: task for task in bars._progress.tasks}
        assert set(lines) == {"study", "independent/lora/a/0", "independent/lora/b/0"}
        assert lines["independent/lora/b/0"].completed == 1 and lines["independent/lora/b/0"].total == 10
        bars.end(made[1])
        bars.left(400.0)
        bars.worker(first)
        bars.failed(made[0], "it died", again=True)
        assert [task.description for task in bars._progress.tasks] == ["study"]
        assert bars._progress.tasks[0].fields["note"] == "about 7 min left"
