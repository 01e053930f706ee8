"""Everything that the documents tell a user to run is there and parses."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import deltaspace
from deltaspace.cli import app
from deltaspace.study import load_recipe, load_sweep
from deltaspace.study.sweep import points
from deltaspace.subspace import Approximation, Optimization
from deltaspace.tasks import Limits, load_task
from deltaspace.training import Training
from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[1]
RECIPES = [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "src/deltaspace/demo.yaml"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_parses(path):
    recipe = load_recipe(path)
    assert recipe.tasks.source and recipe.tasks.unseen and recipe.deltas


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_every_sweep_parses(path):
    sweep, recipe = load_sweep(path)
    assert len(points(sweep, recipe)) > 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_recipes_in_the_pages_parse(path, tmp_path):
    for text in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        assert load_recipe(tmp_path / "recipe.yaml").dim


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_and_links_in_the_pages_exist(path):
    text = path.read_text(encoding="utf-8")
    for word in re.findall(r"^    deltaspace (\S+)", text, re.MULTILINE):
        assert word in get_command(app).commands
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", text, re.MULTILINE):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^):]+)\)", text):
        assert (path.parent / link).exists(), link


def readme_examples():
    """The Python of the README: the whole way, and what goes before it for one's own model and data."""
    whole, mine = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return whole, mine


def test_names_in_the_readme_example_are_public():
    for code in readme_examples():
        assert len([line for line in code.splitlines() if line.strip()]) <= 10
        for name in re.findall(r"\bds\.(\w+)", code):
            assert name in deltaspace.__all__


@pytest.mark.slow
def test_the_readme_example_runs(monkeypatch, capsys):
    """The very text of the README on the real model, with two steps for every stage and few sentences."""
    monkeypatch.setattr("deltaspace.tasks.load_task", functools.partial(load_task, limits=Limits(train=64, dev=32, test=32)))
    short = {"steps": 2, "lr": 1e-3, "evaluate_every": 2}
    monkeypatch.setattr("deltaspace.solutions.TRAIN", Training(**short))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.approximate"], "APPROXIMATE", Approximation(**short))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.optimize"], "OPTIMIZE", Optimization(**short))
    exec(compile(readme_examples()[0], "README.md", "exec"), {})
    assert re.search(r"Score\(value=\d+\.\d+, loss=", capsys.readouterr().out)


def test_the_readme_example_runs_on_a_model_and_data_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_tiny("bert", tmp_path / "my-bert")
    short = {"steps": 2, "lr": 1e-3, "evaluate_every": 2}
    monkeypatch.setattr("deltaspace.solutions.TRAIN", Training(**short))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.approximate"], "APPROXIMATE", Approximation(**short))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.optimize"], "OPTIMIZE", Optimization(**short))
    whole, mine = readme_examples()
    rest = "\n".join(line for line in whole.splitlines() if not re.match(r"backbone =|tweets, movies =|import", line))
    exec(compile(f"import deltaspace as ds\n{mine}\n{rest}", "README.md", "exec"), {})
    assert re.search(r"Score\(value=\d+\.\d+, loss=", capsys.readouterr().out)


def test_every_command_has_an_example_in_its_help():
    for name in get_command(app).commands:
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert f"deltaspace {name} " in shown.output.split("Usage:")[1].split("\n", 1)[1]
