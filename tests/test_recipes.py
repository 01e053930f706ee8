"""Everything that the documents tell a user to run is there and parses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from deltaspace.cli import app
from deltaspace.study import load_recipe, load_sweep
from deltaspace.study.points import points

ROOT = Path(__file__).resolve().parents[1]
RECIPES = [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "src/deltaspace/demo.yaml"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
        assert (path.parent / link.partition("#")[0]).exists(), link


def test_every_command_has_an_example_in_its_help():
    for name in get_command(app).commands:
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert f"deltaspace {name} " in shown.output.split("Usage:")[1].split("\n", 1)[1]
