"""A study end to end on a tiny model: what is made, skipped, redone, resumed after a kill, and told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.study import Observer, load_recipe, read_scores, run_study
from tests.tiny import save_tiny, write_example, write_task

SHORT = {"steps": 6, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}


class Log(Observer):
    def __init__(self):
        self.made = []

    def start(self, artefact, reason):
        self.made.append((artefact.path, reason))


@pytest.fixture
def recipe_file(tmp_path):
    save_tiny("bert", tmp_path / "model")
    for name in ("one", "two"):
        write_task(tmp_path / name, size=16 if name == "one" else 20)
    recipe = {
        "model": str(tmp_path / "model"),
        "deltas": [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}, {"prefix": {"tokens": 2}}],
        "tasks": {"source": ["one"], "unseen": ["two"]},
        "dim": 3,
        "projection": "dense",
        "train": SHORT,
        "approximate": SHORT,
        "optimize": SHORT,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def change(path, **keys):
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))


def go(path, out, until=None):
    log = Log()
    run_study(load_recipe(path), out, until=until, observer=log)
    return log.made


def numbers(out):
    return [replace(row, seconds=0.0) for row in read_scores(out)]


def test_a_whole_study_and_its_rows(recipe_file, tmp_path):
    out = tmp_path / "study"
    made = go(recipe_file, out)
    assert len(made) == 6 + 6 + 1 + 1 + 3 + 3 + 6 + 6
    assert {reason for _, reason in made} == {"missing"}
    found = read_scores(out)
    stages = [row.stage for row in found]
    counts = {"zero_shot": 6, "independent": 6, "optimized": 3, "mean_code": 3, "in_span": 6, "transferred": 6}
    assert {s: stages.count(s) for s in stages} == counts
    for row in found:
        same = {r.stage: r.score for r in found if (r.task, r.delta) == (row.task, row.delta)}
        zero, whole = same["zero_shot"], same["independent"]
        assert row.relative == (pytest.approx(100 * row.score / whole) if whole else None)
        assert row.recovered == (pytest.approx(100 * (row.score - zero) / (whole - zero)) if whole != zero else None)
    assert go(recipe_file, out) == []


def test_a_changed_recipe_makes_stale_what_depends_on_it_and_loses_nothing(recipe_file, tmp_path):
    out = tmp_path / "study"
    go(recipe_file, out)
    before = numbers(out)
    change(recipe_file, optimize={**SHORT, "lr": 0.5})
    made = go(recipe_file, out)
    assert {path.split("/")[0] for path, _ in made} == {"optimized", "in_span", "transferred"}
    assert {reason for _, reason in made} == {"stale"}
    change(recipe_file, optimize=SHORT)
    assert go(recipe_file, out) == []
    assert numbers(out) == before


def test_stages_can_be_run_one_by_one(recipe_file, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    go(recipe_file, whole)
    for until in ("independent", "subspace", "optimized", "transferred"):
        assert go(recipe_file, parts, until)
    assert numbers(parts) == numbers(whole)


def test_rivals_are_tuned_for_the_task_alone(recipe_file, tmp_path):
    out = tmp_path / "study"
    change(recipe_file, rivals=["random"])
    go(recipe_file, out)
    rivals = {row.delta: row for row in read_scores(out) if row.stage == "rivals"}
    alone = {row.delta: row for row in read_scores(out) if row.stage == "optimized"}
    change(recipe_file, optimize={**SHORT, "agreement": 5.0})
    made = [path for path, _ in go(recipe_file, out)]
    assert any(path.startswith("optimized/") for path in made) and not any(path.startswith("rivals/") for path in made)
    assert rivals == {row.delta: row for row in read_scores(out) if row.stage == "rivals"}
    assert alone != {row.delta: row for row in read_scores(out) if row.stage == "optimized"}


def test_rivals_are_tuned_beside_the_subspace(recipe_file, tmp_path):
    out = tmp_path / "study"
    change(recipe_file, rivals=["random", "unilora", "lora-1"])
    made = [path for path, _ in go(recipe_file, out) if path.startswith("rivals/")]
    assert len(made) == 3 + 2
    found = {(row.rival, row.delta): row for row in read_scores(out) if row.stage == "rivals"}
    assert found["unilora", "lora"].tuned == found["random", "prefix"].tuned == 3
    assert found["lora-1", "lora"].relative is not None
    change(recipe_file, rivals=["lora-1"])
    assert go(recipe_file, out) == []
    assert {row.rival for row in read_scores(out) if row.stage == "rivals"} == {"lora-1"}
    change(recipe_file, rivals=["random"])
    assert go(recipe_file, out) == []  # what was set aside comes back


def test_few_shots_change_the_unseen_tasks_only(recipe_file, tmp_path):
    out = tmp_path / "study"
    go(recipe_file, out)
    change(recipe_file, tasks={"source": ["one"], "unseen": ["two"], "shots": 4})
    made = [path for path, _ in go(recipe_file, out)]
    assert "independent/lora/two/0.safetensors" in made
    assert not any("/one/" in path or path.startswith("subspace") for path in made)


def test_tasks_may_lie_in_a_folder_of_their_own(recipe_file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    change(recipe_file, tasks={"source": ["one"], "unseen": ["two"], "folder": "elsewhere"})
    assert go(recipe_file, tmp_path / "study", until="independent")


def test_a_damaged_artefact_is_made_anew_and_told_by_show(recipe_file, tmp_path):
    out = tmp_path / "study"
    go(recipe_file, out)
    before = numbers(out)
    path = out / "independent" / "lora" / "one" / "0.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DeltaspaceError, match=r"one/0\.safetensors is damaged"):
        read_scores(out)
    assert go(recipe_file, out) == [("independent/lora/one/0.safetensors", "damaged")]
    assert numbers(out) == before


def test_two_runs_of_one_study_are_refused(recipe_file, tmp_path):
    from deltaspace.study.folder import Folder

    with Folder(tmp_path / "study").locked(), pytest.raises(DeltaspaceError, match="another process"):
        go(recipe_file, tmp_path / "study")


def test_the_command_line(recipe_file, tmp_path):
    out = tmp_path / "study"
    environment = {**os.environ, "COLUMNS": "100"}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "deltaspace", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    checked = command("check", recipe_file, "--full")
    assert checked.returncode == 0, checked.stderr
    assert yaml.safe_load(checked.stdout)["dim"] == [3]
    first = command("run", recipe_file, "--out", out)
    assert first.returncode == 0, first.stderr
    again = command("run", recipe_file, "--out", out)
    assert "nothing to do" in again.stdout
    table = command("show", out, "--figure", tmp_path / "figure.png")
    assert table.returncode == 0, table.stderr
    assert "Subspace transfer, d = 3" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 100 + len(str(tmp_path))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(command("show", out, "--json").stdout)
    wanted = "stage task delta source_delta seed dim metric score n_test".split()
    wanted += "relative recovered seconds steps".split()
    assert all(set(wanted) <= set(row) for row in found)
    wrong = command("show", tmp_path / "nothing")
    assert wrong.returncode == 2
    assert "is not a study" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_help_needs_neither_torch_nor_transformers():
    script = "import sys, deltaspace.cli.application; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_run_checks_once_and_a_finished_study_pays_nothing_for_it(tmp_path, monkeypatch):
    from deltaspace.study import run

    checked, check = [], run.check_resources
    monkeypatch.setattr(run, "check_resources", lambda resources: (checked.append(resources), check(resources)))
    recipe = load_recipe(write_example(tmp_path))
    assert run_study(recipe, tmp_path / "study", until="independent") > 0 and len(checked) == 1
    assert run_study(recipe, tmp_path / "study") > 0 and len(checked) == 2

    def never(*_, **__):
        raise AssertionError("a finished study needs no model")

    monkeypatch.setattr("deltaspace.backbone.load_backbone", never)
    assert run_study(recipe, tmp_path / "study") == 0 and len(checked) == 2
