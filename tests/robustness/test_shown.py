"""What people name and write is shown as it is, wherever it is shown: terminal, figures, page, tables to copy, model cards."""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
import shutil
import subprocess
import xml.etree.ElementTree
from dataclasses import replace
from importlib.resources import files

import pytest
import yaml
from markdown_it import MarkdownIt
from rich.table import Table

from deltaspace.checkpoints import export_delta
from deltaspace.cli._terminal import print_tables
from deltaspace.deltas import attach
from deltaspace.figures import FIGURES, Options, Results, draw, save_figure
from deltaspace.report import write_report
from deltaspace.report.page_recipe import shown_recipe
from deltaspace.study import load_recipe, read_subspace
from deltaspace.subspace import save_subspace
from tests.robustness.wrong_recipes import recipe
from tests.tiny import save_tiny, tiny_backbone, write_task

# One line each; what they would mean somewhere is in the comments.
NASTY = [
    "[red]x[/red]",  # rich
    "[/b] :smile:",
    r"$\frac$",  # matplotlib, LaTeX
    "$a$ and $b$",
    r"\$5 {x} ^y ~z",
    "<b>x</b> &amp; <script>",  # HTML
    "a & b_c _d_ 100% #1",  # LaTeX, Markdown, YAML
    "a|b `c` *d* [e](f)",  # Markdown
    "say \"hi\", 'you'; a: b",  # CSV, YAML, Python
    "=1+1",  # a spreadsheet
    "@SUM(A1)",
    "{{data}} {0} %s",  # templates
    "\u202eback\u202c \u200fwards",  # bidirectional text
    "😀 naïve ｆｕｌｌ 日本",
    "</script><!-- -->",
    "back\\slash\\",
]


@pytest.mark.parametrize("text", NASTY)
def test_tables_of_the_terminal(text, capsys):
    table = Table(text, title=text, title_justify="left")
    table.add_row(text)
    table.caption = text
    print_tables([table])
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize("control", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\x7f"])
def test_nothing_controls_the_terminal(control, capsys, monkeypatch):
    from deltaspace.cli import main

    table = Table(title=f"a{control}b")
    table.add_column("x")
    table.add_row(f"a{control}b")
    print_tables([table])
    monkeypatch.setattr("sys.argv", ["deltaspace", "check", f"a{control}b"])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert control not in out + err
    assert f"a\\x{ord(control[0]):02x}" in out and f"a\\x{ord(control[0]):02x}" in err


def texts(svg):
    return ["".join(part.itertext()) for part in xml.etree.ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("text", NASTY)
def test_figures(study, tmp_path, text):
    results = Results(study)
    landscape = results.landscapes["plane"]
    marks = {f"{text} {i}": at for i, at in enumerate(landscape.slice.marks.values())}
    named = replace(landscape, task=text, slice=replace(landscape.slice, labels=(text, f"{text} 2"), marks=marks))
    results.landscapes["plane"] = named
    figure = FIGURES["landscape"].figure(results, Options(landscape="plane"))
    shown = " ".join(texts(save_figure(figure, tmp_path / "a.svg")))
    # A renderer makes one space of several, and SVG does too.
    assert shown.count(" ".join(text.split())) >= 3 + len(marks)


def test_what_a_figure_writes_itself_stays_mathematics(study, tmp_path):
    """Such as powers of ten on an axis."""
    figure = draw("curves", study)
    figure.axes[0].set_yscale("log")
    figure.axes[0].set_ylim(1e-9, 1e9)
    assert "mathdefault" not in " ".join(texts(save_figure(figure, tmp_path / "a.svg")))


@pytest.fixture(scope="module")
def copied():
    """The page's own function of each format, run by node."""
    if shutil.which("node") is None:
        pytest.skip("no node")
    assets = files("deltaspace") / "report" / "assets"
    formats, _, _ = (assets / "tables.js").read_text(encoding="utf-8").partition("async function copy")
    [exact] = [line for line in (assets / "page.js").read_text(encoding="utf-8").splitlines() if line.startswith("const exact")]

    def run(name, columns, rows):
        script = f"{exact}\n{formats}\nprocess.stdout.write(formats[{name!r}]({json.dumps(columns)}, {json.dumps(rows)}))"
        ran = subprocess.run(["node", "-"], input=script.encode(), capture_output=True, check=True)
        return ran.stdout.decode()

    return run


COLUMNS = [{"key": "text", "label": "text", "number": False}, {"key": "score", "label": "score %", "number": True}]
SEVERAL = "two\nlines\r\nand more"
ROWS = [{"text": text, "score": -1.5} for text in [*NASTY, SEVERAL]]


def test_csv(copied):
    [head, *table] = list(csv.reader(io.StringIO(copied("CSV", COLUMNS, ROWS), newline="")))
    assert head == ["text", "score %"]
    # A spreadsheet would run a formula: an apostrophe says that it is a text. Numbers are numbers.
    wanted = [f"'{text}" if text[0] in "=@" else text for text in [*NASTY, SEVERAL]]
    assert table == [[text, "-1.5"] for text in wanted]


def inline(tokens):
    return ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]


def test_markdown(copied):
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(copied("Markdown", COLUMNS, ROWS))
    assert {child.type for token in tokens for child in token.children or []} <= {"text", "text_special"}
    cells = inline(tokens)
    assert cells[:2] == ["text", "score %"]
    assert cells[2::2] == [*NASTY, "two lines and more"]


def test_latex(copied):
    lines = copied("LaTeX", COLUMNS, ROWS).split("\n")
    assert len(lines) == len(ROWS) + 6
    cells = [line.removesuffix(" & -1.5 \\\\") for line in lines[4:-2]]
    assert cells[0] == "{[}red{]}x{[}/red{]}"
    assert cells[2] == r"\$\textbackslash{}frac\$"
    assert cells[4] == r"\textbackslash{}\$5 \{x\} \textasciicircum{}y \textasciitilde{}z"
    assert cells[6] == r"a \& b\_c \_d\_ 100\% \#1"
    assert cells[-1] == "two lines and more"
    # No sign that LaTeX would take for its own is left, and every brace has its other.
    for cell in cells:
        bare = cell
        for known in ("textbackslash{}", "textasciicircum{}", "textasciitilde{}", "textless{}", "textgreater{}", "textbar{}"):
            bare = bare.replace(f"\\{known}", "")
        for sign in "&%$#_{}":
            bare = bare.replace(f"\\{sign}", "")
        bare = bare.replace("{[}", "").replace("{]}", "")
        assert not set(bare) & set("\\&%$#_{}^~<>|[]"), cell


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.within, self.texts, self.scripts = [], {}, 0

    def handle_starttag(self, tag, attributes):
        self.within.append(dict(attributes).get("id") or tag)
        self.scripts += tag == "script"

    def handle_endtag(self, tag):
        if self.within:
            self.within.pop()

    def handle_data(self, data):
        if self.within:
            self.texts[self.within[-1]] = self.texts.get(self.within[-1], "") + data


def test_the_page(study, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    written = (copy / "recipe.yaml").read_text() + "".join(f"# {text}\n" for text in NASTY)
    (copy / "recipe.yaml").write_text(written)
    plain, nasty = _Page(), _Page()
    plain.feed(write_report(study, tmp_path / "plain.html").read_text(encoding="utf-8"))
    nasty.feed(write_report(copy).read_text(encoding="utf-8"))
    assert shown_recipe(written).strip() in nasty.texts["pre"] and nasty.scripts == plain.scripts
    assert json.loads(nasty.texts["data"])["rows"] == json.loads(plain.texts["data"])["rows"]


# A path may have a slash nowhere in its names.
PATHS = [text for text in NASTY if "/" not in text]


@pytest.mark.parametrize("name", [*PATHS, "two\nlines"])
def test_model_cards(study, tmp_path, name):
    backbone = replace(tiny_backbone("bert"), name=f"models/{name}")
    attached = attach("lora", backbone, r=2)
    export_delta(attached, attached.initial, tmp_path / name, provenance={"model": name, "task": "t"})
    subspace = read_subspace(study)
    save_subspace(replace(subspace, plm=replace(subspace.plm, name=f"models/{name}")), tmp_path / "subspace")
    for folder, line in ((name, "PeftModel.from_pretrained"), ("subspace", "load_backbone(")):
        card = (tmp_path / folder / "README.md").read_text(encoding="utf-8")
        _, matter, body = card.split("---\n", 2)
        assert yaml.safe_load(matter)["base_model"] == f"models/{name}"
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(body)
        assert any(f"models/{' '.join(name.split())}" in " ".join(text.split()) for text in inline(tokens)[:1])
        assert folder == "subspace" or " ".join(name.split()) in [" ".join(text.split()) for text in inline(tokens)]
        [code] = [token.content for token in tokens if token.type == "code_block"]
        strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        assert line in code and (f"models/{name}" if folder == "subspace" else name) in strings


@pytest.mark.parametrize("text", NASTY)
def test_label_words_and_texts(tmp_path, monkeypatch, capsys, text):
    """A label that the model has no words for is told as it was written; and texts are nothing but texts."""
    from deltaspace.cli import main

    save_tiny("bert", tmp_path / "model")
    for name in ("one", "two"):
        write_task(tmp_path / name)
    for split in ("train", "dev", "test"):
        path = tmp_path / "two" / f"{split}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        swapped = {"happy": text, "sad": "sad"}
        lines = [json.dumps({"input": f"{row['input']} {text}", "target": swapped[row["target"]]}) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    worded = {"from": "two", "labels": {text: "happy", "sad": "sad"}}
    for labels, code in (({text: "happy", "sad": "sad"}, 0), ({text: "bad", "sad": text}, 2), ({text: "bad", "other": "sad"}, 2)):
        (tmp_path / "recipe.yaml").write_text(
            recipe(f"tasks: {json.dumps({'source': ['one'], 'unseen': [worded | {'labels': labels}]})}"), encoding="utf-8"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["deltaspace", "check", "recipe.yaml"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == code, out + err
        assert code == 0 or "Traceback" not in err
    spec = load_recipe(tmp_path / "recipe.yaml").tasks.unseen[0]
    assert text in spec.labels
