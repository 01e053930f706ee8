"""How a command ends: signals, a second one, a broken pipe, and two runs of one study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from deltaspace.cli._terminal import console
from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import SIGNALS, Interrupted, arrived, check, held, interruptible
from deltaspace.report.page_tables import _run
from deltaspace.storage import replacing, write_tensors
from deltaspace.study import Observer, load_recipe, read_history, read_scores, run_study
from deltaspace.study.folder import Folder
from deltaspace.study.lock import locked
from deltaspace.training import Resume, Score, Training, fit
from tests.tiny import write_example


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def send(number):
    os.kill(os.getpid(), number)


class Killer(Observer):
    """Sends a signal when some artefacts are there."""

    def __init__(self, number, after=3):
        self.number, self.after = number, after

    def end(self, artefact):
        self.after -= 1
        if self.after == 0:
            send(self.number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_in_a_script_and_the_history_says_so(tmp_path, number, capsys):
    before, recipe = handlers(), load_recipe(write_example(tmp_path))
    with pytest.raises(Interrupted, match=number.name):
        run_study(recipe, tmp_path / "study", observer=Killer(number))
    assert handlers() == before and arrived() is None
    [ended] = read_history(tmp_path / "study")
    assert ended.ended == f"interrupted by {number.name}" and ended.interrupted
    assert _run(ended)["ended"] == ended.ended
    from deltaspace.cli import app

    app(["show", str(tmp_path / "study")], standalone_mode=False)
    assert f"was interrupted by {number.name}; run the recipe again to go on" in capsys.readouterr().out
    run_study(recipe, tmp_path / "study")
    assert read_history(tmp_path / "study")[-1].ended == "finished"
    app(["show", str(tmp_path / "study")], standalone_mode=False)
    assert "interrupted" not in capsys.readouterr().out


def test_a_run_beside_the_main_thread_leaves_handlers_alone(tmp_path):
    recipe, during, ended = load_recipe(write_example(tmp_path)), [], []

    class Watch(Observer):
        def plan(self, todo, done):
            during.append(handlers())

    def go():
        ended.append(run_study(recipe, tmp_path / "study", observer=Watch()))

    before, thread = handlers(), threading.Thread(target=go)
    thread.start()
    thread.join()
    assert during == [before] and ended[0] > 0


def test_handlers_of_others_and_ignored_signals_stay():
    mine = signal.signal(signal.SIGTERM, lambda *_: None), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before = handlers()
        with interruptible():
            assert handlers()[1:] == before[1:] and handlers()[0] != before[0]
            send(signal.SIGHUP)
            send(signal.SIGTERM)
        assert handlers() == before
    finally:
        signal.signal(signal.SIGTERM, mine[0])
        signal.signal(signal.SIGHUP, mine[1])


def test_a_second_signal_does_not_disturb_what_is_saved(tmp_path):
    with pytest.raises(Interrupted, match="SIGINT"), interruptible():
        try:
            send(signal.SIGINT)
        finally:
            with replacing(tmp_path / "file") as temporary:
                send(signal.SIGINT)
                send(signal.SIGTERM)
                temporary.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole" and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_signal_waits_for_what_is_changed_whole_and_is_not_lost():
    done = []
    with pytest.raises(Interrupted), interruptible():
        with held():
            send(signal.SIGTERM)
            done.append(1)
        done.append(2)
    assert done == [1]
    with pytest.raises(Interrupted), interruptible():
        try:
            send(signal.SIGTERM)
        except BaseException:
            done.append(3)  # as a library may swallow it
        check()
    assert done == [1, 3]


def test_a_signal_that_comes_while_an_object_is_freed_is_quiet_and_not_lost(capsys):
    class Freed:
        def __del__(self):
            send(signal.SIGTERM)

    done, hook = [], sys.unraisablehook
    with pytest.raises(Interrupted), interruptible():
        Freed()
        done.append(1)
        check()
    assert done == [1] and sys.unraisablehook is hook and "Interrupted" not in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["loss", "evaluate"])
def test_a_training_that_a_signal_stops_goes_on_with_equal_numbers(tmp_path, inside):
    settings = Training(steps=9, lr=0.1, evaluate_every=3, batch_size=1)
    calls = {"loss": 0, "evaluate": 0, "stop": None}

    def reached(what):
        calls[what] += 1
        if (what, calls[what]) == calls["stop"]:
            send(signal.SIGTERM)

    def loss(parameters, step):
        reached("loss")
        return ((parameters[0] - step) ** 2).sum()

    def evaluate(parameters):
        reached("evaluate")
        return Score(-float(parameters[0].sum()), float(parameters[0].sum()), 1)

    def go(name):
        resume = Resume(tmp_path / name, "fingerprint")
        return fit([torch.zeros(3)], loss, evaluate, settings, resume=resume, keep_trajectory=True)

    whole = go("whole")
    calls |= {"loss": 0, "evaluate": 0, "stop": (inside, 2)}
    with pytest.raises(Interrupted), interruptible():
        go("stopped")
    assert (tmp_path / "stopped").exists()
    steps = calls["loss"]
    again = go("stopped")
    assert calls["loss"] == steps + 9 - {"loss": 2, "evaluate": 3}[inside]
    assert torch.equal(again.parameters[0], whole.parameters[0]) and torch.equal(again.trajectory[0], whole.trajectory[0])
    assert (again.curve, again.best, again.best_step) == (whole.curve, whole.best, whole.best_step)


def test_a_training_that_a_signal_stops_before_its_first_step_begins_anew(tmp_path):
    """The optimizer has no state yet, so that there is nothing to go on from."""
    resume, signals = Resume(tmp_path / "state", "fingerprint"), [signal.SIGTERM]

    def evaluate(parameters):
        if signals:
            send(signals.pop())
        return Score(-float(parameters[0].sum()), float(parameters[0].sum()), 1)

    def go():
        settings = Training(steps=3, lr=0.1, evaluate_every=3, batch_size=1)
        return fit([torch.zeros(3)], lambda values, step: ((values[0] - 1) ** 2).sum(), evaluate, settings, resume=resume)

    for number in (0, 1):
        if number:
            # A signal that waited for the end of the evaluation.
            signals.append(signal.SIGINT)
        with pytest.raises(Interrupted), interruptible():
            go()
        assert not (tmp_path / "state").exists()
    assert go().steps == 3


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_says_what_is_kept_and_how_to_go_on(tmp_path, number):
    recipe = write_example(tmp_path)
    command = [sys.executable, "-m", "deltaspace", "run", str(recipe), "--out", str(tmp_path / "a study")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        while "(missing)" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        for _ in range(3):
            process.send_signal(number)
        said += process.stderr.read()
    assert process.returncode == 128 + number and "Traceback" not in said
    assert said.endswith(f"to go on: deltaspace run {recipe} --out '{tmp_path / 'a study'}'\n")
    assert f"interrupted by {number.name}: what is finished is kept" in said
    assert read_history(tmp_path / "a study")[-1].ended == f"interrupted by {number.name}"


@pytest.mark.parametrize("words", [["show", "--json"], ["info"]])
def test_output_that_nobody_reads_ends_without_a_traceback(study, words):
    command = [sys.executable, "-m", "deltaspace", words[0], str(study), *words[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("words", [["show", "--json"], ["info"]])
def test_output_to_a_full_disk_is_told(study, words):
    command = [sys.executable, "-m", "deltaspace", words[0], str(study), *words[1:]]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "error: the output cannot be written\n  found: No space left on device\n")


def test_a_console_says_that_nobody_reads_it():
    reading, writing = os.pipe()
    os.close(reading)
    terminal = console()
    with pytest.raises(BrokenPipeError), os.fdopen(writing, "w", buffering=1, closefd=True) as file:
        terminal.file = file
        try:
            terminal.print("x")
        finally:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def test_the_second_run_says_who_holds_the_study(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(DeltaspaceError, match=rf"another process\n  found: process {os.getpid()} on .+, since 2"),
    ):
        Folder(tmp_path).locked().__enter__()
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize(
    "note",
    [f"process {os.getpid()} on here", "process 1 on another.host, since 2020", "\udcff\0"],
    ids=["this process", "another machine", "no text"],
)
def test_a_note_of_a_dead_run_keeps_nobody_out(tmp_path, note):
    (tmp_path / ".lock").write_bytes(note.encode(errors="surrogateescape"))
    with locked(tmp_path):
        pass


def test_the_lock_goes_with_a_killed_process(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom deltaspace.study.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DeltaspaceError, match=f"process {process.pid} on"), locked(tmp_path):
            pass
        process.kill()
    assert str(process.pid) in (tmp_path / ".lock").read_text()
    with locked(tmp_path):
        pass


def test_a_lock_that_is_a_link_or_no_file_is_refused(tmp_path):
    (tmp_path / "target").write_text("kept")
    for name, make in (
        ("link", lambda path: path.symlink_to(tmp_path / "target")),
        ("folder", lambda path: path.mkdir()),
        ("pipe", os.mkfifo),
    ):
        (tmp_path / name).mkdir()
        make(tmp_path / name / ".lock")
        with pytest.raises(DeltaspaceError, match="cannot be written"), locked(tmp_path / name):
            pass
    assert (tmp_path / "target").read_text() == "kept"


def test_a_state_of_what_is_there_already_goes(tmp_path):
    recipe, folder = load_recipe(write_example(tmp_path)), Folder(tmp_path / "study")
    run_study(recipe, folder.path, until="independent")
    state = folder.resume_state("independent/lora/source/0.safetensors")
    for left in (state, state.with_name(f"{state.stem}-1{state.suffix}")):
        write_tensors(left, {}, {"fingerprint": "of before"})
    assert run_study(recipe, folder.path, until="independent") == 0
    assert not [path for path in (folder.path / ".running").rglob("*") if path.is_file()]


def test_a_history_without_ends_is_read(tmp_path):
    run_study(load_recipe(write_example(tmp_path)), tmp_path / "study", until="zero_shot")
    path = tmp_path / "study" / "runs.json"
    [entry] = json.loads(path.read_text())
    assert entry.pop("ended") == "finished" and entry.pop("digest")
    path.write_text(json.dumps([entry]))
    assert read_history(tmp_path / "study")[0].ended == "finished" and read_scores(tmp_path / "study")


def test_what_a_dead_process_left_anywhere_in_a_study_is_cleared_and_no_other_file(tmp_path):
    study = tmp_path / "study"
    left = study / "imported" / "lora" / ".0.safetensors.0123456789abcdef.tmp"
    left.mkdir(parents=True)
    (left / "0.safetensors").write_bytes(b"half")
    kept = [study / "imported" / ".x.tmp", study / "imported" / "notes.txt"]
    for path in kept:
        path.touch()
    with replacing(study / "imported" / "b") as living:
        with Folder(study).locked():
            pass
        assert living.exists()
    assert not left.exists() and all(path.exists() for path in kept)


def test_a_signal_that_comes_when_a_command_has_just_ended_is_told_like_any_other(monkeypatch, capsys):
    from deltaspace.cli import entry

    def late():
        send(signal.SIGTERM)

    monkeypatch.setattr(sys, "argv", ["deltaspace", "--version"])
    monkeypatch.setattr(entry, "arrived", late)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [ValueError, DeltaspaceError, OSError])
def test_a_signal_counts_also_where_a_library_makes_another_exception_of_it(kind, monkeypatch, capsys):
    from deltaspace.cli import application, entry

    def swallowing():
        try:
            send(signal.SIGTERM)
        except Interrupted as interrupted:
            raise kind("of a schema") from interrupted

    monkeypatch.setattr(application, "app", swallowing)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert told.startswith("interrupted by SIGTERM") and "of a schema" not in told
