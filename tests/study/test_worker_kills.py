"""Runs with workers, of which the driver or a worker is ended at random moments, are run again: all rows and tensors are those of
one undisturbed process, bit for bit, no process is left, and nothing half written.

As in `tests/robustness/test_kills.py`; a kill comes a random moment after some artefacts are begun, so that it meets work.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

import pytest

from deltaspace.study import load_recipe, read_history, run_study
from tests.robustness.test_kills import SIGNALS, contents
from tests.study.test_workers import gone, processes_of, read_until, start

ARTEFACTS = 18
# Between the word that an artefact is begun and a kill.
MOMENT_SECONDS = 0.5


def kill(packages, recipe, out, drawn):
    """Start a run, and end its driver or one of its workers.

    Returns:
        Whether that met a process at work.
    """
    process = start(packages, "run", recipe, "--out", out, "--workers", "2")
    try:
        told = read_until(process, drawn.randrange(1, ARTEFACTS))
    except AssertionError:  # fewer were left to make
        told = ""
    workers = sorted(processes_of(told))
    number, victim = drawn.choice(SIGNALS), drawn.choice([process.pid, *workers])
    time.sleep(drawn.uniform(0, MOMENT_SECONDS))
    with suppress(ProcessLookupError):
        os.kill(victim, number)
    rest = process.communicate(timeout=500)[1]
    assert "Traceback" not in told + rest, told + rest
    assert gone(set(workers) | processes_of(rest)), (workers, number, victim)
    if victim == process.pid and process.returncode:
        if process.returncode == -number != -signal.SIGKILL:
            # It met the interpreter's own end, which takes no signals any more; shells show the same code for both.
            assert read_history(out)[-1].ended == "finished", told + rest
        else:
            assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), told + rest
        return True
    # A worker alone: the run goes on without it, to its end.
    assert process.returncode == 0, told + rest
    return victim != process.pid and "is begun again" in rest


def disturb(packages, example, root, count, seed):
    (recipe, wanted), drawn = example, random.Random(seed)
    met = rounds = 0
    while met < count:
        out = root / f"study-{rounds}"
        met += sum(kill(packages, recipe, out, drawn) for _ in range(drawn.choice((1, 1, 2))))
        run_study(load_recipe(recipe), out)
        assert contents(out) == wanted, (seed, rounds)
        left = [path for path in out.rglob("*") if path.name.endswith(".tmp") or (path.is_file() and ".running" in path.parts)]
        assert left == [], (seed, rounds)
        rounds += 1
        assert rounds < 4 * count + 4, "too few kills met a process at work"
    print(f"{met} kills met a process at work, in {rounds} rounds")


def test_2_kills(packages, example, tmp_path):
    disturb(packages, example, tmp_path, 2, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 6))
def test_50_kills(packages, example, tmp_path, seed):
    disturb(packages, example, tmp_path, 10, seed)
