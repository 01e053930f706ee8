"""Every program of the documents runs, every command that they tell is one, and the site's pages are all in its menu."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import deltaspace
from deltaspace.cli import app
from deltaspace.deltas import DELTAS
from tests.newcomer import furnish, hurry, shorten

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Their programs are run by tests/tasks/test_tasks.py.
ELSEWHERE = {"tasks.md"}


def programs(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as the quickstart leaves it: a model, tables, a recipe that `init` wrote, and its study."""
    folder = tmp_path_factory.mktemp("newcomer")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in ("init my-bert films.csv products.csv -o recipe.yaml", "check recipe.yaml"):
            result = CliRunner().invoke(app, shlex.split(command))
            assert result.exit_code == 0, result.output + repr(result.exception)
        shorten(folder / "recipe.yaml")
        result = CliRunner().invoke(app, shlex.split("run recipe.yaml --out runs/mine"))
        assert result.exit_code == 0, result.output + repr(result.exception)
    return folder


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name not in ELSEWHERE and programs(path)], ids=lambda path: path.name
)
def test_the_programs_of_a_page_run(path, place, monkeypatch, capsys):
    """From the first to the last, as somebody would type them who reads the page."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(DELTAS, "_things", dict(DELTAS))
    hurry(monkeypatch)
    names = {"__name__": "documents"}
    for program in programs(path):
        exec(compile(program, path.name, "exec"), names)
    assert "print(" not in "".join(programs(path)) or capsys.readouterr().out.strip()


def test_the_readmes_programs_are_short_and_their_names_public():
    for program in programs(ROOT / "README.md"):
        assert len([line for line in program.splitlines() if line.strip()]) <= 10
        for name in re.findall(r"\bds\.(\w+)", program):
            assert name in deltaspace.__all__


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_one(path):
    """Verbs, options and the number of arguments are right; nothing is run."""
    commands = get_command(app).commands
    for line in re.findall(r"^    (?:.*&& )?(deltaspace .*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        _, verb, *words = shlex.split(line, comments=True)
        try:
            commands[verb].make_context(verb, words)
        except click.exceptions.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_every_page_is_in_the_menu():
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = re.findall(r"[\w/-]+\.md", str(menu))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_can_be_listened_to(path):
    """Every column has a heading, headings go down by one level, and pictures have words."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heads in re.findall(r"^\|(.*)\|\n\|[ :|-]+\|$", text, re.MULTILINE):
        assert all(head.strip() for head in re.split(r"(?<!\\)\|", heads)), heads
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels)), levels
    assert all(len(words) > 20 for words in re.findall(r"!\[(.*?)\]\(", text))


def test_the_picture_can_be_read_aloud_and_in_the_dark():
    picture = ElementTree.parse(DOCS / "idea.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert picture.get("role") == "img"
    assert all(picture.find(f"{space}{part}").text.strip() for part in ("title", "desc"))
    style = picture.find(f"{space}style").text
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    assert set(re.findall(r"\.(\w+) \{", light)) == set(re.findall(r"\.(\w+) \{", dark))


def test_the_version_is_the_package_s():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", deltaspace.__version__)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == deltaspace.__version__
