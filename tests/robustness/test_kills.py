"""Every writing verb is ended at random moments (SIGKILL, SIGTERM, Ctrl-C) and run again: all rows and tensors are those of
an undisturbed run, bit for bit, and nothing half written is left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.robustness.server import Commands
from tests.tiny import write_example

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What no two runs have in common: times, and the digests over them.
TIMES = ("seconds", "digest")
# Files of a study that say what ran, not what came of it.
ABOUT_RUNS = ("runs.json", ".lock")


@dataclass
class Verb:
    """A command over the folder `{out}`, which begins as a copy of `begins`; `seconds` and `result` are of an undisturbed run."""

    words: str
    begins: Path | None = None
    seconds: float = 0.0
    result: dict[str, Any] | None = None

    def command(self, out: Path) -> list[str]:
        return [word.replace("{out}", str(out)) for word in self.words.split()]

    def prepare(self, out: Path) -> Path:
        shutil.rmtree(out, ignore_errors=True)
        if self.begins is not None:
            shutil.copytree(self.begins, out)
        return out


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    server = Commands(tmp_path_factory.mktemp("log") / "log")
    yield server
    server.close()


@pytest.fixture(scope="module")
def verbs(commands, tmp_path_factory):
    """Each writing verb, with what it makes where nothing disturbs it."""
    root = tmp_path_factory.mktemp("kills")
    recipe = write_example(root)
    told = json.loads(recipe.read_text())
    steps = {"steps": 12, "lr": 0.02, "batch_size": 4, "evaluate_every": 3}
    recipe.write_text(json.dumps({**told, "projection": "dense", "train": steps, "approximate": steps, "optimize": steps}))
    (root / "sweep.yaml").write_text(json.dumps({"recipe": "recipe.yaml", "grids": {"dim": [1, 2]}}))
    study, lora = root / "study", root / "checkpoint"
    for words in (f"run {recipe} --out {study}", f"export {study} --task unseen --delta lora -o {lora}"):
        commands.start(words.split())
        assert commands.wait() == 0, commands.log.read_text()
    listed = {
        "run": Verb(f"run {recipe} --out {{out}}"),
        "train": Verb(f"train {recipe} --out {{out}}"),
        "sweep": Verb(f"sweep {root / 'sweep.yaml'} --out {{out}}"),
        "landscape": Verb("landscape {out} --task unseen --point adapter --point lora --grid 0:1:9", study),
        "import": Verb(f"import {{out}} {lora} --task unseen --recipe {recipe} --delta lora --initial-seed 0"),
        "export": Verb(f"export {study} --task unseen --delta lora -o {{out}}"),
        "export of a subspace": Verb(f"export {study} -o {{out}}"),
        "translate": Verb(f"translate {study} --task unseen --from lora --to adapter -o {{out}}"),
        "report": Verb("report {out}", study),
        "figure": Verb(f"figure scores {study} -o {{out}}/figure.png"),
    }
    for name, verb in listed.items():
        out = verb.prepare(root / "out" / name.replace(" ", "-"))
        started = time.perf_counter()
        commands.start(verb.command(out))
        assert commands.wait() == 0, (name, commands.log.read_text())
        verb.seconds, verb.result = time.perf_counter() - started, contents(out)
    return root, listed


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items() if key not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """What each file below a folder says: rows without their times, tensors and everything else to the last bit."""
    told: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ABOUT_RUNS):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = {key: timeless(json.loads(text)) for key, text in (file.metadata() or {}).items() if text[:1] == "{"}
                tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
            told[name] = metadata, {key: (str(t.dtype), list(t.shape), t.numpy().tobytes()) for key, t in tensors.items()}
        elif path.suffix == ".json":
            told[name] = timeless(json.loads(path.read_text()))
        else:
            told[name] = path.read_bytes()
    return told


def kill_and_go_on(commands: Commands, verb: Verb, out: Path, drawn: random.Random) -> int:
    """One kill, or two in a row; how many met a process that was at work."""
    met = 0
    for _ in range(drawn.choice((1, 1, 2))):
        number, moment = drawn.choice(SIGNALS), drawn.uniform(0, verb.seconds)
        process = commands.start(verb.command(out))
        time.sleep(moment)
        with suppress(ProcessLookupError):  # it has ended
            os.kill(process, number)
        code = commands.wait()
        said = commands.log.read_text()
        assert "Traceback" not in said, said
        if code != 0:
            met += 1
            assert code == (-number if number == signal.SIGKILL else 128 + number), (code, said)
        if code == 128 + number and said:  # it says nothing where its work had just ended
            assert f"interrupted by {number.name}" in said and "to go on: deltaspace" in said
    # An empty temporary folder of less than a minute may be one that a living process has just made: let the minute go by.
    for left in out.parent.rglob("*.tmp"):
        os.utime(left, (0, 0))
    commands.start(verb.command(out))
    assert commands.wait() == 0, commands.log.read_text()
    return met


def disturb(commands: Commands, verbs: tuple[Path, dict[str, Verb]], count: int, seed: int) -> None:
    root, listed = verbs
    drawn, met, done = random.Random(seed), 0, 0
    while met < count:
        name = list(listed)[done % len(listed)]
        verb, done = listed[name], done + 1
        out = verb.prepare(root / "killed" / name.replace(" ", "-"))
        met += kill_and_go_on(commands, verb, out, drawn)
        result = contents(out)
        assert verb.result is not None
        assert sorted(result) == sorted(verb.result), (name, seed, done)
        assert [path for path in result if result[path] != verb.result[path]] == [], (name, seed, done)
        left = [path for path in root.rglob("*") if path.name.endswith(".tmp") or path.name.startswith((".tmp", ".running"))]
        assert [path for path in left if path.name != ".running" or any(part.is_file() for part in path.rglob("*"))] == []
        assert done < 4 * count, "too few kills met a process at work"
    print(f"{met} kills met a process at work, in {done} rounds")


def test_20_kills(commands, verbs):
    disturb(commands, verbs, 20, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 11))
def test_200_kills(commands, verbs, seed):
    disturb(commands, verbs, 20, seed)
