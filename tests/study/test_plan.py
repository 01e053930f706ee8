"""What a run would make: counted, estimated from what is there or from one step, and nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deltaspace.cli import app
from deltaspace.cli._plan import _size, _time
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_metadata, read_tensors, write_tensors
from deltaspace.study import STAGES, Stage, load_recipe, load_sweep, plan_study, plan_sweep, run_study, run_sweep
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.plan import _Measured, timed_step
from deltaspace.study.resources import Resources
from tests.tiny import tiny_task, write_example


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(write_example(tmp_path))


def on_disk(path: Path) -> int:
    held = path.stat()
    return max(held.st_size, 512 * held.st_blocks)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_study_that_is_not_there_is_estimated_by_a_step_and_stays_not_there(recipe, tmp_path):
    plan = plan_study(recipe, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    wanted = Graph(Resources(recipe, Folder(tmp_path / "study")))
    assert plan.todo == len(wanted.order(wanted.wanted())) and set(plan.steps) == {"adapter", "lora"}
    assert all(
        stage.basis == "one step" and stage.bytes and stage.bytes >= 4096 * stage.todo for stage in plan.stages if stage.todo
    )
    assert all(trained > 0 and read > 0 for trained, read in plan.steps.values())
    by_stage = {stage.stage: stage for stage in plan.stages}
    assert by_stage["independent solutions"].seconds > by_stage["zero-shot"].seconds > 0
    # Two vectors of n numbers for each.
    sizes = [2 * 4 * attached.layout.size for attached in wanted.resources.deltas(0)]
    assert by_stage["independent solutions"].bytes == 2 * sum(sizes) + 4 * 4096
    assert plan_study(recipe, tmp_path / "study", until="independent").todo == 8


def test_a_study_tells_from_its_own_artefacts(recipe, tmp_path):
    study = tmp_path / "study"
    run_study(recipe, study)
    assert plan_study(recipe, study).todo == 0
    [path, *_] = sorted((study / "independent").rglob("*.safetensors"))
    size = on_disk(path)
    path.unlink()
    before = files(study)
    plan = plan_study(recipe, study)
    assert files(study) == before and plan.steps == {}
    missing = next(stage for stage in plan.stages if stage.stage == "independent solutions")
    assert (missing.todo, missing.present, missing.basis) == (1, 3, "measured")
    assert missing.bytes == pytest.approx(size, rel=0.1)
    record = json.loads((study / "runs.json").read_text())[0]
    each = record["seconds"]["independent solutions"] / record["artefacts"]["independent solutions"]
    assert missing.seconds == pytest.approx(each)


def test_what_was_imported_tells_nothing_of_trainings(recipe, tmp_path):
    study = tmp_path / "study"
    run_study(recipe, study, until="independent")
    [first, *others] = sorted((study / "independent").rglob("*.safetensors"))
    tensors, said = read_tensors(first)
    write_tensors(first, tensors, {**said, "imported": {"from": "zoo", "sha256": "0"}})
    measured = _Measured()
    measured.learn(Folder(study))
    trained = [read_metadata(path)["row"]["seconds"] for path in others]
    assert measured.seconds_of("independent") == pytest.approx(sum(trained) / len(trained))
    for path in others:
        path.unlink()
    alone = _Measured()
    alone.learn(Folder(study))
    assert alone.seconds_of("independent") is None and alone.bytes_of("independent") == on_disk(first)


def test_files_of_scores_count_as_much_as_they_take(recipe, tmp_path):
    """Estimated and measured they are the same: what the disk has to hold."""
    study = tmp_path / "study"
    estimated = {stage.stage: stage.bytes / stage.todo for stage in plan_study(recipe, study).stages if stage.todo}
    run_study(recipe, study)
    measured = _Measured()
    measured.learn(Folder(study))
    kept = [(name, stage) for name, stage in STAGES.items() if stage.suffix == ".json" and stage.title in estimated]
    assert {"zero_shot", "transferred", "disagreement"} <= {name for name, _ in kept}
    for name, stage in kept:
        files_of = [study / path for path in Folder(study).files(name)]
        assert measured.bytes_of(name) == sum(map(on_disk, files_of)) / len(files_of)
        assert estimated[stage.title] >= max(path.stat().st_size for path in files_of)


def test_a_stage_that_does_not_tell_is_not_known(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(type(STAGES["mean_code"]), "work", Stage.work)
    [stage] = [stage for stage in plan_study(recipe, tmp_path / "study").stages if stage.stage == "mean code"]
    assert (stage.basis, stage.seconds, stage.bytes, stage.todo) == ("unknown", None, None, 2)


def test_what_the_points_of_a_sweep_share_is_counted_once(tmp_path):
    write_example(tmp_path)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": "recipe.yaml", "grids": [{"dim": [1, 2], "deltas": [1, 2]}]}))
    sweep, recipe = load_sweep(tmp_path / "sweep.yaml")
    planned = plan_sweep(sweep, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert planned.todo == run_sweep(sweep, recipe, tmp_path / "out")
    again = plan_sweep(sweep, recipe, tmp_path / "out")
    assert again.todo == 0 and sum(stage.present for stage in again.stages) == planned.todo


def test_the_command_line_tells_and_makes_nothing(recipe, tmp_path):
    words = ["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "study"), "--dry-run"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "one step" in result.stdout and "nothing was made" in result.stdout
    table = [line for line in result.stdout.splitlines() if line[:1] in "┏┃┡│└"]
    assert table and max(map(len, table)) <= 80
    assert not (tmp_path / "study").exists()
    run_study(recipe, tmp_path / "study")
    result = CliRunner().invoke(app, words)
    assert "nothing to do" in result.stdout
    somebodys = tmp_path / "somebodys"
    somebodys.mkdir()
    (somebodys / "letter.txt").write_text("mine")
    result = CliRunner().invoke(app, [*words[:3], str(somebodys), "--dry-run"])
    assert isinstance(result.exception, DeltaspaceError) and "letter.txt" in str(result.exception)
    assert [path.name for path in somebodys.iterdir()] == ["letter.txt"]


def test_a_step_is_timed_for_an_example(recipe, tmp_path):
    resources = Resources(recipe, Folder(tmp_path / "study"))
    trained, read = timed_step(resources.attached("lora", 0), tiny_task(), 8)
    assert 0 < read < 1 and 0 < trained < 1


def test_times_and_sizes_are_told_in_their_units():
    assert [_time(seconds) for seconds in (None, 0.25, 80.0, 600.0, 7200.0)] == ["?", "0.2 s", "80 s", "10 min", "2 h"]
    assert [_size(count) for count in (None, 12.0, 4100.0, 3e6, 2.5e9)] == ["?", "12 B", "4.1 kB", "3.0 MB", "2.5 GB"]
