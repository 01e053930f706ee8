"""docs/architecture.md, "Adding": each line of its table, followed from an installed package of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[1]
# Each group of entry points, with the names that the package brings; a figure's entry point has the figure's name.
GROUPS = {
    "deltaspace.deltas": "mine",
    "deltaspace.projections": "mine",
    "deltaspace.maps": "mine",
    "deltaspace.metrics": "mine",
    "deltaspace.families": "mine",
    "deltaspace.task_sources": "mine",
    "deltaspace.rivals": "mine",
    "deltaspace.stages": "mine",
    "deltaspace.engines": "mine",
    "deltaspace.figures": "lengths",
}


@pytest.fixture
def installed(tmp_path):
    """The package as pip leaves it: a module, and metadata with its entry points."""
    packages = tmp_path / "packages"
    metadata = packages / "mine-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "plugin.txt", packages / "mine.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = mine\n" for group, name in GROUPS.items()))
    return {**os.environ, "PYTHONPATH": str(packages), "COLUMNS": "100"}


def test_every_group_is_in_the_table():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"group `(deltaspace\.\w+)`", table)) == set(GROUPS)


def test_everything_can_be_added_from_a_package_of_its_own(installed, tmp_path):
    save_tiny("bert", tmp_path / "model")
    short = {"steps": 2, "lr": 0.02, "batch_size": 4, "evaluate_every": 1}
    recipe = {
        "model": str(tmp_path / "model"),
        "family": "whispering",
        "deltas": [{"shift": {"scale": 2.0}}, {"lora": {"r": 2}}],
        "tasks": {"source": ["made:source"], "unseen": ["made:unseen"]},
        "dim": 1,
        "projection": "twice",
        "rivals": ["lora-2"],
        "train": short,
        "approximate": short,
        "optimize": short,
        "landscapes": [{"task": "unseen", "points": ["zero", "source"], "grid": "0:1:3", "name": "line"}],
    }

    def command(*words):
        result = subprocess.run(
            [sys.executable, "-m", "deltaspace", *map(str, words)], capture_output=True, text=True, env=installed, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    path = tmp_path / "recipe.yaml"
    for projection in ("twice", "shrunk"):
        path.write_text(yaml.safe_dump({**recipe, "projection": projection}))
        command("run", path, "--out", tmp_path / "study")
        rows = json.loads(command("show", tmp_path / "study", "--json"))
        assert {row["stage"] for row in rows} >= {"optimized", "transferred", "rivals", "lengths"}
        assert {row["metric"] for row in rows} == {"first_letter", "length"}
        assert {row["delta"] for row in rows if row["stage"] == "lengths"} == {"shift", "lora"}
        assert {row["rival"] for row in rows if row["stage"] == "rivals"} == {"lora-2"}
        kinds = {delta["map"] for delta in json.loads(command("info", tmp_path / "study", "--json"))["deltas"].values()}
        assert kinds == {"twice": {"doubled"}, "shrunk": {"dense"}}[projection]
    engine = "import sys, deltaspace as ds; print(ds.run_study(ds.load_recipe(sys.argv[1]), sys.argv[2], engine='mine'))"
    ran = subprocess.run(
        [sys.executable, "-c", engine, str(path), str(tmp_path / "mine")],
        capture_output=True,
        text=True,
        env=installed,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, ["0"]), ran.stderr
    assert "common region" in command("landscape", tmp_path / "study", "--task", "unseen", "--point", "zero", "--point", "source")
    command("figure", "lengths", tmp_path / "study", "-o", tmp_path / "lengths.svg")
    assert "lengths" in command("figure", "--help")
    assert (tmp_path / "lengths.svg").read_bytes().startswith(b"<?xml")
