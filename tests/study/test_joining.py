"""Several runs make one study: nothing is made twice, all end with the same rows, and one that dies takes nothing with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

import deltaspace.study.claims as claims_module
from deltaspace.errors import DeltaspaceError
from deltaspace.study import Observer, Serial, load_recipe, read_history, read_status, run_study
from deltaspace.study.claims import ClaimedElsewhere, Claims
from deltaspace.study.folder import Folder
from deltaspace.study.lock import holder, locked
from tests.robustness.test_kills import contents
from tests.study.test_workers import Log, start

NAME = "independent/lora/source/0.safetensors"
HOLD = """
import sys, time
from pathlib import Path
from deltaspace.study.claims import Claims
with Claims(Path(sys.argv[1])).held(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""
# Of another package: an artefact takes long enough for a second process to begin.
SLOW = """
import time

from deltaspace.study.graph import Graph

write = Graph.write


def slowly(*arguments):
    time.sleep(1.0)
    return write(*arguments)


Graph.write = slowly
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """An installed package that slows down."""
    packages = tmp_path_factory.mktemp("packages")
    metadata = packages / "slow-1.0.dist-info"
    metadata.mkdir()
    (packages / "slow.py").write_text(SLOW)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[deltaspace.stages]\nslow = slow\n")
    return packages


@pytest.fixture
def other(tmp_path):
    """Another process that holds a claim."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), NAME], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_claim_goes_with_its_process(tmp_path, other):
    claims = Claims(tmp_path)
    with pytest.raises(ClaimedElsewhere), claims.held(NAME):
        raise AssertionError
    [claim] = claims.all()
    assert (claim.artefact, claim.process) == (NAME, other.pid) and claims.is_held(NAME)
    claims.clear()
    assert claims.is_held(NAME)
    other.kill()
    other.wait()
    assert not claims.is_held(NAME) and list(claims.all()) == []
    with claims.held(NAME):
        assert [claim.process for claim in claims.all()] == [os.getpid()]
    assert not list(tmp_path.rglob("*.claim"))


def test_a_claim_of_another_machine_holds_for_as_long_as_it_is_renewed(tmp_path, other, monkeypatch):
    claims, path = Claims(tmp_path), tmp_path / f"{NAME}.claim"
    other.kill()
    other.wait()
    monkeypatch.setattr(claims_module, "_machine", lambda: "another")
    assert claims.is_held(NAME)
    with pytest.raises(ClaimedElsewhere), claims.held(NAME):
        raise AssertionError
    old = time.time() - claims_module.EXPIRE_SECONDS - 1
    os.utime(path, (old, old))
    assert not claims.is_held(NAME)
    monkeypatch.setattr(claims_module, "RENEW_SECONDS", 0.01)
    with claims.held(NAME):
        os.utime(path, (old, old))
        end = time.monotonic() + 60
        while path.stat().st_mtime < old + 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_claim_that_says_nothing_is_nobody_s_after_a_moment(tmp_path):
    claims, path = Claims(tmp_path), tmp_path / f"{NAME}.claim"
    path.parent.mkdir(parents=True)
    path.touch()
    assert claims.is_held(NAME)
    os.utime(path, (0, 0))
    assert not claims.is_held(NAME)
    claims.clear()
    assert not path.exists()


def test_a_claim_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "independent").touch()
    with pytest.raises(DeltaspaceError, match="cannot be written"), Claims(tmp_path).held(NAME):
        raise AssertionError


class Second(Observer):
    """Starts a second run of a study while the first one makes something."""

    def __init__(self, recipe, out, **options):
        self.recipe, self.out, self.options = recipe, out, options
        self.told, self.status, self.log = None, None, Log()

    def start(self, artefact, reason):
        if self.told is None and artefact.path.startswith("independent/"):
            self.told, self.path = "", artefact.path
            self.status = read_status(self.out)
            try:
                run_study(self.recipe, self.out, observer=self.log, **self.options)
            except DeltaspaceError as error:
                self.told = str(error)


def test_a_second_run_is_told_what_the_first_is_doing_and_how_to_follow_it(example, tmp_path):
    recipe, out = load_recipe(example[0]), tmp_path / "study"
    second = Second(recipe, out)
    run_study(recipe, out, until="independent", observer=second)
    assert f"{out} is being run by another process" in second.told
    assert re.search(rf"process {os.getpid()} on .+, since .+ of 8 made, .*now making {second.path} \(process", second.told)
    assert f"deltaspace status {out}" in second.told and "--join" in second.told
    assert [claim.artefact for claim in second.status.claims] == [second.path]


def test_another_recipe_cannot_join(example, tmp_path):
    recipe, out = load_recipe(example[0]), tmp_path / "study"
    second = Second(recipe.model_copy(update={"dim": (1,)}), out, join=True)
    run_study(recipe, out, until="independent", observer=second)
    assert f"{out} is being run with another recipe" in second.told
    assert "dim:\n- 2\n" in (out / "recipe.yaml").read_text()


def test_whoever_asks_or_begins_anew_sees_runs_that_share_a_study(tmp_path):
    with ExitStack() as first:
        first.enter_context(locked(tmp_path)).share()
        assert "process" in holder(tmp_path)
        with pytest.raises(DeltaspaceError, match="is being run by"), Folder(tmp_path).locked():
            raise AssertionError
        second = locked(tmp_path, join=True)
        assert second.__enter__().joined
        first.close()
        with pytest.raises(DeltaspaceError, match="is being run by"), locked(tmp_path):
            raise AssertionError
        second.__exit__(None, None, None)
    assert holder(tmp_path) is None
    with locked(tmp_path, join=True) as alone:  # there is nobody to join
        assert not alone.joined


FIRST = """
import sys, time
from pathlib import Path
from deltaspace.study.lock import locked
with locked(Path(sys.argv[1])) as hold:
    hold.share()
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_first_run_that_was_killed_is_not_named_as_if_it_went_on(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", FIRST, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        with locked(tmp_path, join=True) as hold:
            assert hold.joined and holder(tmp_path).startswith(f"process {first.pid} on ")
            first.kill()
            first.wait()
            assert re.fullmatch(f"what joined process {first.pid} on .*, which has ended", holder(tmp_path))
            with pytest.raises(DeltaspaceError, match="which has ended"), locked(tmp_path):
                pass
        assert holder(tmp_path) is None
    finally:
        first.kill()
        first.wait()
        first.stdout.close()


def until_begun(process):
    """What a run prints until it makes something."""
    told = ""
    while "(missing)" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    return told


def made_by(told):
    return re.findall(r"^(\S+) \(missing\)", told, re.MULTILINE)


@pytest.mark.parametrize("engine", [["--threads", "1"], ["--workers", "1", "--joint-threads", "1"]], ids=["serial", "workers"])
def test_two_runs_make_a_study_together(example, tmp_path, slow, engine):
    recipe, wanted = example
    out = tmp_path / "study"
    words = ("run", recipe, "--out", out, "--join", *engine)
    # Whichever is second waits until it may join.
    runs = [start(slow, *words) for _ in range(2)]
    tolds = [run.communicate(timeout=500)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], tolds
    assert contents(out) == wanted
    made = [made_by(told) for told in tolds]
    assert all(made) and sorted(made[0] + made[1]) == sorted({*made[0], *made[1]}) and len(made[0] + made[1]) == 18, tolds
    assert all("(made by another run)" in told for told in tolds)
    assert sum(sum(record.artefacts.values()) for record in read_history(out)) == 18
    assert not [path for path in (out / ".running").rglob("*") if path.is_file()]


def test_a_run_that_is_killed_loses_its_claims_and_the_other_one_goes_on(example, tmp_path, slow):
    recipe, wanted = example
    out = tmp_path / "study"
    words = ("run", recipe, "--out", out, "--join", "--threads", "1")
    first, second = (start(slow, *words) for _ in range(2))
    until_begun(first)
    told = until_begun(second)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=500)
    told += second.communicate(timeout=500)[1]
    assert second.returncode == 0 and "Traceback" not in told, told
    # Nothing is left to make, and what was left half done goes.
    assert run_study(load_recipe(recipe), out, engine=Serial()) == 0
    assert contents(out) == wanted
    assert not [path for path in (out / ".running").rglob("*") if path.is_file()]
