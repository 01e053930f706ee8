"""Disagreement, controls and translation in a study: which artefacts there are, what tables and figures show, the command."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import yaml

from deltaspace.cli import main
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import Results
from deltaspace.report.page_tables import page_tables
from deltaspace.study import (
    check_recipe,
    load_recipe,
    outdated,
    read_disagreements,
    read_missed,
    read_radii,
    read_scores,
    read_subspace,
    run_study,
)
from deltaspace.study.disagreements import DisagreementRow, agreeing_radius
from tests.study.test_study import change, go, recipe_file  # noqa: F401 - a fixture

PAIRS = {("adapter", "lora"), ("adapter", "prefix"), ("lora", "prefix")}


@pytest.fixture
def translated(recipe_file, tmp_path):  # noqa: F811
    change(recipe_file, translate={"steps": 4, "evaluate_every": 2, "batch_size": 4})
    run_study(load_recipe(recipe_file), tmp_path / "study")
    return tmp_path / "study"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["deltaspace", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_study_measures_disagreement_and_its_controls(translated, monkeypatch, capsys):
    rows = read_disagreements(translated)
    assert {(row.first, row.second) for row in rows} == PAIRS
    assert {row.radius for row in rows} == {0.0, 0.25, 0.5, 1.0, 2.0}
    assert all(row.disagreement >= 0 for row in rows)
    assert {(vector.task, vector.delta) for vector in read_radii(translated)} == {
        ("two", name) for name in ("adapter", "lora", "prefix")
    }
    counts = {}
    for row in read_scores(translated):
        counts[row.stage] = counts.get(row.stage, 0) + 1
    assert (counts["mean_code"], counts["in_span"], counts["translated"], counts["transferred"]) == (3, 6, 6, 6)
    assert {row.tuned for row in read_scores(translated) if row.stage == "translated"} == {3}
    assert run(monkeypatch, "show", translated) == 0
    printed = capsys.readouterr().out
    for text in ("Disagreement of the deltas' functions", "Transfer and its controls", "Translation (tuned without labels)"):
        assert text in printed
    assert "What translation misses" in printed
    missed = read_missed(translated)
    assert len(missed) == 6 and all(row.after <= row.before and row.start in ("transferred", "mean") for row in missed)
    [told] = [row for row in missed if (row.source_delta, row.delta) == ("lora", "prefix")]
    [line] = [line.replace("│", " ").split() for line in printed.splitlines() if "lora → prefix" in line]
    assert line[4:] == ["1", f"{100 * told.before:.0f}", f"{100 * told.after:.0f}", str(int(told.start == "mean"))]
    [shown] = [table for table in page_tables(Results(translated)) if table["id"] == "missed"]
    assert shown["rows"] == [asdict(row) for row in missed]
    assert run(monkeypatch, "show", translated, "--json") == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if "missed" in row]
    assert [row["missed"] for row in rows] == [{"start": row.start, "before": row.before, "after": row.after} for row in missed]
    assert run(monkeypatch, "figure", "disagreement", translated, "-o", translated / "figure.png") == 0
    assert (translated / "figure.png").stat().st_size > 1000


def test_a_killed_translation_by_the_command_goes_on(translated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deltaspace.training.loop._SAVE_SECONDS", -1.0)
    given = ("translate", translated, "--task", "two", "--from", "lora", "--to", "adapter", "--json", "-o")
    assert run(monkeypatch, *given, tmp_path / "whole") == 0
    whole = json.loads(capsys.readouterr().out)
    steps = []

    def killed(_, done, *rest):
        steps.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("deltaspace.training.resume.Resume.tell", killed)
        assert run(patched, *given, tmp_path / "new" / "again") == 130
    [state] = (tmp_path / "new").glob(".again*")
    assert not (tmp_path / "new" / "again").exists()
    begun = []
    with monkeypatch.context() as patched:
        patched.setattr("deltaspace.training.resume.Resume.tell", lambda _, done, *rest: begun.append(done))
        assert run(patched, *given, tmp_path / "new" / "again") == 0
    assert begun[0] > 1 and not state.exists()
    capsys.readouterr()
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    for name in names:
        if name.endswith(".safetensors"):
            assert (tmp_path / "new" / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert whole["missed"]["steps"] <= 4


def test_they_can_be_left_out(recipe_file, tmp_path):  # noqa: F811
    change(recipe_file, disagreement=False, controls=False)
    run_study(load_recipe(recipe_file), tmp_path / "study")
    assert {row.stage for row in read_scores(tmp_path / "study")} == {"zero_shot", "independent", "optimized", "transferred"}
    assert read_disagreements(tmp_path / "study") == read_missed(tmp_path / "study") == []


def test_the_command_translates_on_any_texts(translated, tmp_path, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in translated.rglob("*") if path.is_file()}
    texts = tmp_path / "texts.txt"
    texts.write_text("a good film\nthe bad plot\n\nit was dull\nvery fine\n")
    asked = ["translate", translated, "--task", "two", "--from", "lora", "--to", "adapter"]
    assert run(monkeypatch, *asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    [row] = [r for r in read_scores(translated) if (r.stage, r.source_delta, r.delta) == ("translated", "lora", "adapter")]
    assert told["translated"]["value"] == row.score
    assert told["missed"]["after"] <= told["missed"]["before"]
    assert run(monkeypatch, *asked, "--inputs", texts, "-o", tmp_path / "checkpoint") == 0
    assert "without labels" in (tmp_path / "checkpoint" / "README.md").read_text()
    assert {path: path.read_bytes() for path in translated.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "nope", "--from", "lora", "--to", "adapter"), "no unseen task 'nope'"),
        (("--task", "two", "--from", "nope", "--to", "adapter"), "no delta 'nope'"),
        (("--task", "two", "--from", "lora", "--to", "lora"), "to itself"),
        (("--task", "two", "--from", "lora", "--to", "adapter", "--dim", "99"), "no d 99"),
        (("--task", "two", "--from", "lora", "--to", "adapter", "--inputs", "/nope"), "is missing"),
    ],
)
def test_mistakes_of_the_command(translated, arguments, message, monkeypatch, capsys):
    assert run(monkeypatch, "translate", translated, *arguments) == 2
    assert message in capsys.readouterr().err


def test_settings_may_be_whole_or_in_part(recipe_file):  # noqa: F811
    assert load_recipe(recipe_file).translate is None
    change(recipe_file, translate=True, disagreement={"vectors": 3})
    recipe = load_recipe(recipe_file)
    assert recipe.translate is not None
    assert recipe.disagreement is not None
    assert (recipe.disagreement.vectors, recipe.disagreement.texts) == (3, 32)
    assert yaml.safe_load(recipe_file.read_text())["translate"] is True


def test_the_agreeing_radius_ends_before_the_first_that_does_not():
    def rows(*values):
        return [DisagreementRow(3, 0, "a", "b", radius, value) for radius, value in zip((0.0, 0.5, 1.0), values, strict=True)]

    assert agreeing_radius(rows(0.1, 0.2, 0.9)) == 0.5
    assert agreeing_radius(rows(0.1, 0.7, 0.2)) == 0.0
    assert agreeing_radius(rows(0.9, 0.1, 0.1)) is None


def test_what_a_killed_run_left_behind_is_not_mixed_with_what_is_new(translated, monkeypatch, capsys):
    """A changed recipe whose run ends behind the new subspace: vectors of the old one mean nothing in it."""
    change(translated / "recipe.yaml", approximate={"steps": 3, "evaluate_every": 3, "batch_size": 4, "lr": 0.02})
    run_study(load_recipe(translated / "recipe.yaml"), translated, until="subspace")
    assert {row.stage for row in read_scores(translated)} == {"zero_shot", "independent"}
    assert read_disagreements(translated) == read_radii(translated) == []
    assert len(read_subspace(translated).vectors) == 0
    assert run(monkeypatch, "show", translated) == 0
    assert "left out: 25 artefacts" in capsys.readouterr().out
    assert run(monkeypatch, "export", translated, "--task", "two", "--delta", "lora", "-o", translated / "mix") == 2
    run_study(load_recipe(translated / "recipe.yaml"), translated)
    assert len(read_subspace(translated).vectors) == 3 and outdated(translated) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"disagreement": {"radii": [-1]}}, "greater than or equal to 0"),
        ({"disagreement": {"radii": [1, 1]}}, "the radius 1 stands twice"),
        ({"projection": {"aligned": {"leader": "nope"}}}, "no leader 'nope'"),
    ],
)
def test_what_cannot_be_is_refused_in_the_recipe(recipe_file, keys, message):  # noqa: F811
    change(recipe_file, **keys)
    with pytest.raises(DeltaspaceError, match=message):
        load_recipe(recipe_file)


def test_a_probe_that_is_not_there_is_told_by_check(recipe_file, monkeypatch, capsys):  # noqa: F811
    change(recipe_file, projection={"aligned": {"probe": "texts.txt"}})
    assert run(monkeypatch, "check", recipe_file) == 2
    assert "texts.txt is missing" in capsys.readouterr().err
    (recipe_file.parent / "texts.txt").write_text("a good film\n")
    assert run(monkeypatch, "check", recipe_file) == 0


def test_a_probe_counts_by_its_texts_not_by_where_they_lie(recipe_file, tmp_path):  # noqa: F811
    def made(name):
        change(
            recipe_file, projection={"aligned": {"probe": name}}, approximate={"steps": 2, "evaluate_every": 2, "batch_size": 4}
        )
        return go(recipe_file, tmp_path / "study", until="subspace")

    subspaces = [("subspace/3/0.safetensors", "missing")]
    (tmp_path / "texts.txt").write_text("a good film\nthe plot was dull\n")
    assert made("texts.txt")[-1:] == subspaces
    (tmp_path / "moved").mkdir()
    (tmp_path / "texts.txt").rename(tmp_path / "moved" / "others.txt")
    assert made("moved/others.txt") == []
    (tmp_path / "moved" / "others.txt").write_text("a good film\nthe plot was good\n")
    assert made("moved/others.txt") == [("subspace/3/0.safetensors", "stale")]
    # Read where it is now: a file that is gone is told.
    with pytest.raises(DeltaspaceError, match=r"texts.txt is missing"):
        made("texts.txt")


def test_what_the_method_cannot_make_is_told_before_anything_is_trained(recipe_file, tmp_path):  # noqa: F811
    change(recipe_file, deltas=["lora", "finetune"], projection={"aligned": {"directions": "random"}})
    with pytest.raises(DeltaspaceError, match="random directions of a delta of the PLM's size"):
        check_recipe(load_recipe(recipe_file))
    (tmp_path / "choices").mkdir()
    line = {"input": "Which is a color?", "target": "red", "options": ["red", "four"]}
    for split in ("train", "dev", "test"):
        (tmp_path / "choices" / f"{split}.jsonl").write_text(f"{json.dumps(line)}\n" * 4)
    (tmp_path / "texts.txt").write_text("a good film\n")
    tasks = {"source": ["choices"], "unseen": ["two"]}
    change(recipe_file, deltas=["lora", "prefix"], tasks=tasks, projection={"aligned": {"probe": "texts.txt"}})
    with pytest.raises(DeltaspaceError, match="no source task can be read without options"):
        check_recipe(load_recipe(recipe_file))
