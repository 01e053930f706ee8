"""The command line: instant help, a verb for each part of a study, results as tables and as JSON."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.table import Table
from typer.main import get_command

import deltaspace.cli
from deltaspace.cli import app, main
from deltaspace.cli._terminal import bars, print_tables
from deltaspace.cli.progress import Bars
from deltaspace.errors import DeltaspaceError
from deltaspace.report.regions import RegionRow
from deltaspace.storage import write_json
from deltaspace.study import STAGES, Content, MadeFrom, ScoreRow, Stage, read_scores
from deltaspace.study.stages.zero_shot import Key

VERBS = (
    *"demo init run train approximate optimize transfer translate sweep show status landscape figure report check".split(),
    *"tasks import export compress convert info".split(),
)


def told(capsys, *words):
    app(list(map(str, words)), standalone_mode=False)
    return capsys.readouterr().out


def test_help_imports_nothing_heavy():
    heavy = ("torch", "transformers", "numpy", "matplotlib", "pydantic", "deltaspace.study")
    script = f"import sys, deltaspace.cli.application; sys.exit(any(module in sys.modules for module in {heavy}))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_its_verbs():
    assert tuple(get_command(app).commands) == VERBS


def test_show_prints_rows_as_they_are(study, capsys):
    rows = json.loads(told(capsys, "show", study, "--json"))
    assert rows == [asdict(row) for row in read_scores(study)]
    assert set(rows[0]) == {field.name for field in fields(ScoreRow)}
    shown = told(capsys, "show", study)
    assert "Subspace optimization, d = 3" in shown and "Subspace transfer, d = 3" in shown
    assert max(map(len, shown.splitlines())) <= 100


class Toy(Stage[Key]):
    """A stage of another package: the score of half of each source task."""

    name, title, suffix = "toy", "toy scores", ".json"

    def keys(self, recipe):
        return iter(())

    def made_from(self, resources, key):
        return MadeFrom()

    def make(self, resources, key, resume):
        return Content()


def test_show_prints_the_rows_of_any_stage(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(STAGES, "_things", dict(STAGES))
    STAGES.register(Toy())
    copy = shutil.copytree(study, tmp_path / "study")
    row = ScoreRow("toy", "one", "lora", 0, "accuracy", 12.5, 8)
    key = {"delta": "lora", "task": "one", "seed": 0}
    said = {"stage": "toy", "key": key, "fingerprint": "0" * 64, "made_from": {}, "row": row.stored()}
    write_json(copy / "toy" / "lora" / "one" / "0.json", said)
    [shown] = [row for row in json.loads(told(capsys, "show", copy, "--json")) if row["stage"] == "toy"]
    assert (shown["score"], shown["task"]) == (12.5, "one") and shown["relative"] is not None
    table = told(capsys, "show", copy)
    assert "Toy scores" in table and "12.5" in table.split("Toy scores")[1]


def test_show_has_the_figure_too(study, tmp_path, capsys):
    path = tmp_path / "scores.svg"
    assert f"figure: {path}" in told(capsys, "show", study, "--figure", path)
    assert path.read_bytes().startswith(b"<?xml")


def test_a_landscape_that_is_there_is_told_as_json(study, capsys):
    asked = ("--task", "three", "--point", "adapter", "--point", "lora", "--grid", "0:1:5", "--name", "path")
    rows = json.loads(told(capsys, "landscape", study, *asked, "--json"))
    assert [set(row) for row in rows] == [{field.name for field in fields(RegionRow)}] * 6
    assert {row["threshold"] for row in rows} == {95.0}
    assert "figures: deltaspace figure landscape" in told(capsys, "landscape", study, *asked)


def test_a_slice_that_is_none(study, monkeypatch, capsys):
    for words, message in (
        (["--split", "train"], "no such slice: split"),
        (["--direction", "random-1"], "a slice along directions has one point"),
        (["--threshold", "120"], "no threshold 120"),
    ):
        monkeypatch.setattr("sys.argv", ["deltaspace", "landscape", str(study), "--task", "three", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and message in capsys.readouterr().err


def test_no_figure_of_that_name(study, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["deltaspace", "figure", "pie", str(study), "-o", str(tmp_path / "pie.png")])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "no figure 'pie'" in error and "panels" in error


def test_an_interrupted_run_ends_with_its_code(monkeypatch, capsys):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("deltaspace.cli.application.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and "to go on: deltaspace" in capsys.readouterr().err


def test_each_verb_runs_up_to_its_stage(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr("deltaspace.study.run_study", lambda recipe, out, *, until, **rest: asked.update({out.name: until}) or 0)
    monkeypatch.setattr("deltaspace.study.load_recipe", lambda path: None)
    for verb in ("run", "train", "approximate", "optimize", "transfer"):
        app([verb, "recipe.yaml", "--out", str(tmp_path / verb)], standalone_mode=False)
    wanted = {"train": "independent", "approximate": "subspace", "optimize": "rivals", "transfer": "transferred"}
    assert asked == {"run": None, **wanted} and all(until in STAGES for until in wanted.values())


def test_what_users_name_is_printed_as_it_is(monkeypatch, capsys, tmp_path):
    named = ":smile: [red]a[/red] [/b]"
    monkeypatch.setattr("sys.argv", ["deltaspace", "check", str(tmp_path / named)])
    with pytest.raises(SystemExit):
        main()
    assert named in capsys.readouterr().err
    table = Table(named, title=named)
    table.add_row(named)
    print_tables([table])
    assert capsys.readouterr().out.count(named) == 3
    with bars() as shown:
        shown.start(SimpleNamespace(stage="zero_shot", path=named), named)
    assert capsys.readouterr().err.count(named) == 2


def test_a_bar_s_note_is_printed_as_it_is():
    written = io.StringIO()
    with Bars(Console(file=written, width=200, force_terminal=True, color_system=None)) as shown:
        shown.progress(1, 2, ":smile: [/b]")
    assert ":smile: [/b]" in written.getvalue()


def test_nothing_prints_past_the_console_that_takes_text_as_it_is():
    folder = Path(deltaspace.cli.__file__).parent
    assert [path.name for path in sorted(folder.glob("*.py")) if re.search(r"\b_?Console\((?!\))", path.read_text())] == [
        "_terminal.py"
    ]


def test_every_verb_helps_and_the_version_is_told(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            app([verb, "-h"])
        assert ended.value.code == 0 and f"deltaspace {verb}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        app(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"deltaspace {version('deltaspace')}\n"


def test_optimize_says_that_rivals_run(capsys):
    with pytest.raises(SystemExit):
        app(["optimize", "--help"])
    assert "and the recipe's rivals" in capsys.readouterr().out


def test_stages_are_listed_in_the_order_of_a_run():
    with pytest.raises(
        DeltaspaceError,
        match="zero_shot, independent, subspace, reconstructed, disagreement, optimized, mean_code, rivals, in_span, transferred",
    ):
        STAGES.find("nothing")


def test_info_of_a_seed(study, capsys):
    for seed in (0, 1):
        assert json.loads(told(capsys, "info", study, "--seed", seed, "--json"))["seed"] == seed
    with pytest.raises(DeltaspaceError, match="no subspace with d = 3 and seed 7"):
        app(["info", str(study), "--seed", "7"], standalone_mode=False)


@pytest.mark.parametrize(
    "words", [["info"], ["export", "-o", "out"], ["landscape", "--task", "three"], ["report"], ["import", "x", "--task", "y"]]
)
def test_a_sweep_given_to_a_verb_for_studies_is_told_with_its_studies(words, tmp_path):
    (tmp_path / "sweep.yaml").write_text("[]")
    for name in ("independent", "svd-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("")
    with pytest.raises(DeltaspaceError, match=r"is a sweep(.|\n)*one of its studies: .*independent, .*svd-2"):
        app([words[0], str(tmp_path), *words[1:]], standalone_mode=False)


def test_bars_are_plain_lines_where_there_is_no_terminal(capsys):
    artefact = SimpleNamespace(stage="zero_shot", path="zero_shot/lora/movies/0.json")
    with Bars(Console(width=100)) as bars:
        bars.plan(1, 2)
        bars.start(artefact, "missing")
        bars.progress(1, 2, "dev 50.0")
        bars.end(artefact)
    assert list(bars.seconds) == ["zero-shot"]
    shown = capsys.readouterr().out
    assert "2 artefacts are there and valid, 1 to make" in shown and f"{artefact.path} (missing)" in shown
