"""The report in a real browser: what it shows is what the library says, by mouse, by keyboard, at any width; nothing fetched."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from playwright.sync_api import expect

from deltaspace.cli import app, main
from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import regions
from deltaspace.report.page import write_report
from deltaspace.report.page_landscapes import THRESHOLDS, landscape_data
from deltaspace.report.page_recipe import model_title, shown_recipe
from deltaspace.study import load_recipe, read_landscapes, read_scores, read_subspace
from tests.browser import barriers, wait_until


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return write_report(study, tmp_path_factory.mktemp("report") / "index.html")


@pytest.fixture
def page(report, browser, request):
    """The report, opened from its file; anything said on the console or asked of a network fails the test."""
    context = browser.new_context(**getattr(request, "param", {}))
    opened = context.new_page()
    trouble = []
    opened.on("console", lambda message: trouble.append(message.text))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else trouble.append(asked.url))
    opened.goto(report.as_uri())
    yield opened
    assert trouble == []
    context.close()


def test_one_file_without_any_address(report):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "{{" not in text and report.stat().st_size < 6_000_000


def test_its_numbers_are_those_of_show_json(page, study, capsys):
    app(["show", str(study), "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert page.evaluate("data.rows") == told == json.loads(json.dumps([asdict(row) for row in read_scores(study)]))
    shown = page.locator("#table-rows tbody tr")
    assert shown.count() == len(told)
    heads = page.locator("#table-rows th").all_inner_texts()
    cells = shown.nth(5).locator("td")
    for key in ("score", "seconds"):
        assert float(cells.nth(heads.index(key)).get_attribute("title")) == told[5][key]


def test_the_slider_changes_every_share_to_the_right_number(page, study):
    for number, (name, landscape) in enumerate(read_landscapes(study).items()):
        page.select_option("#slice", str(number))
        assert page.locator("#slice option:checked").inner_text() == name
        for region in regions(landscape, THRESHOLDS):
            page.locator("#threshold").fill(f"{region.threshold:g}")
            told = page.locator("#region").inner_text()
            common = region.shares["common"]
            assert f"{region.threshold:g} % of its own best" in told
            assert f"in {common.value:.1f} % of the slice (95 % interval {common.low:.1f}–{common.high:.1f})" in told
            for key, share in region.shares.items():
                line = page.locator(f'[data-region="{key}"]')
                assert float(line.get_attribute("data-share")) == pytest.approx(share.value, abs=1e-9)


def test_sorting_by_a_heading(page, study):
    page.locator("#table-rows th button", has_text="score").first.click()
    column = [text.split()[0] for text in page.locator("#table-rows th").all_inner_texts()].index("score")
    read = f"[...document.querySelectorAll('#table-rows tbody tr')].map(row => Number(row.cells[{column}].title))"
    wanted = sorted(row.score for row in read_scores(study))
    assert page.evaluate(read) == wanted
    head = page.locator("#table-rows th").nth(column)
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert page.evaluate(read) == wanted[::-1] and head.get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("page", [{"permissions": ["clipboard-read", "clipboard-write"]}], indirect=True)
def test_copies_have_every_digit(page, study):
    def copied(name):
        page.locator("#table-rows").get_by_role("button", name=f"as {name}").click()
        expect(page.locator("#copied")).to_have_text(f"Every score as {name} copied")
        return page.evaluate("navigator.clipboard.readText()")

    told = read_scores(study)
    table = list(csv.DictReader(io.StringIO(copied("CSV"))))
    assert [float(row["score"]) for row in table] == [row.score for row in told]
    assert [row["task"] for row in table] == [row.task for row in told]
    lines = copied("Markdown").splitlines()
    assert len(lines) == len(told) + 2 and set(lines[1]) <= set("|-: ")
    lines = copied("LaTeX").splitlines()
    assert lines[0].startswith("\\begin{tabular}") and lines[-1] == "\\end{tabular}" and "source\\_" not in lines[2]
    assert all(line.endswith("\\\\") for line in lines[2:3] + lines[4:-2]) and len(lines) == len(told) + 6


def test_the_keyboard_alone_reaches_and_does_everything(page):
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if seen[-1] in seen[:-1]:
            continue
        if seen[-1] == "threshold":
            before = page.locator("#region").inner_text()
            page.keyboard.press("ArrowLeft")
            assert page.locator("#threshold-text").inner_text() == "94 %"
            page.keyboard.press("Home")
            assert page.locator("#threshold-text").inner_text() == "80 %"
            assert page.locator("#region").inner_text() != before
        if seen[-1] == "canvas":
            page.keyboard.press("ArrowRight")
            first = page.locator("#cell").inner_text()
            page.keyboard.press("ArrowUp")
            assert page.locator("#cell").inner_text() != first
            page.keyboard.press("Home")
            assert re.search(r"Cell -?[\d.]+, -?[\d.]+: adapter [\d.]+, loss", page.locator("#cell").inner_text())
    for name in ("slice", "delta", "metric", "threshold", "trajectories", "canvas", "CSV", "Markdown", "LaTeX", "task"):
        assert name in seen
    assert seen[0] == "Skip to the content"


def test_pointing_at_a_cell_tells_its_values(page, study):
    landscape = next(iter(read_landscapes(study).values()))
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 0.16 * box["width"], box["y"] + 0.06 * box["height"])
    told = page.locator("#cell").inner_text()
    # The cell at the upper left: the last row of the grid, whose y grows upwards.
    for delta, scores in zip(landscape.deltas, landscape.filled(), strict=True):
        assert re.search(rf"{delta} {scores[-1, 0]:.1f}".replace(".0", r"(\.0)?"), told)


def test_the_picture_changes_with_every_control(page):
    def picture():
        return page.evaluate("document.getElementById('canvas').toDataURL()")

    # The tiny study's tuning moves by less than a cell.
    page.evaluate("data.landscapes[0].deltas.forEach((delta) => { delta.trajectory = [[-15, -15], [10, 15]]; })")
    seen = [picture()]
    for change in (
        lambda: page.locator("#threshold").fill("80"),
        lambda: page.select_option("#delta", "lora"),
        lambda: page.select_option("#metric", "loss"),
        lambda: page.locator("#trajectories").uncheck(),
        lambda: page.select_option("#slice", "1"),
    ):
        change()
        seen.append(picture())
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": 360, "height": 740}},
        {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
        {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    ],
    indirect=True,
)
def test_it_fits_its_window_and_its_text_has_contrast(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ratios = page.evaluate(
        """() => {
          const light = (color) => {
            const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
            const [r, g, b] = parts.map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (element) => {
            for (let outer = element; outer; outer = outer.parentElement) {
              const color = getComputedStyle(outer).backgroundColor;
              if (color !== "rgba(0, 0, 0, 0)") return color;
            }
          };
          return ["h1", "p", "a", "th", "td", "figcaption", "button", "select", "pre"].map((name) => {
            const element = document.querySelector(name);
            const [x, y] = [light(getComputedStyle(element).color), light(behind(element))];
            return [name, (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)];
          });
        }"""
    )
    assert min(ratio for _, ratio in ratios) >= 4.5, ratios


@pytest.mark.parametrize(
    "page",
    [{"viewport": {"width": 390, "height": 844}}, {}, {"color_scheme": "dark"}],
    indirect=True,
    ids=["phone", "desktop", "dark"],
)
def test_nothing_keeps_anybody_out(page):
    assert barriers(page) == ""


def test_scores_come_first_under_a_title_that_says_what_it_is(page):
    assert page.locator("h2").all_inner_texts() == ["Scores", "Landscape", "Figures", "Tables", "Recipe"]
    assert page.title() == page.locator("h1").inner_text() == "study: adapter, lora and prefix of model in 3 dimensions"
    links = page.locator("nav a").all()
    assert [page.locator(f"section{link.get_attribute('href')} h2").inner_text() for link in links] == [
        link.inner_text() for link in links
    ]
    assert page.locator("#scores .table").count() == 2


def test_it_holds_no_path_of_the_machine(study, tmp_path):
    folder = str(study.parent)
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    (copy / "runs.json").write_text("damaged")
    assert folder in (study / "recipe.yaml").read_text()
    for text in (write_report(path, tmp_path / "page.html").read_text(encoding="utf-8") for path in (study, copy)):
        assert folder not in text and str(tmp_path) not in text
        assert "model: …/model\n" in text and f"folder: …/{study.parent.name}\n" in text


def test_a_recipe_is_shown_whole_but_for_folders(study):
    text, recipe = (study / "recipe.yaml").read_text(), load_recipe(study / "recipe.yaml")
    shown, kept = yaml.safe_load(shown_recipe(text)), yaml.safe_load(text)
    assert shown.pop("model") == f"…/{Path(kept.pop('model')).name}" == f"…/{model_title(recipe)}"
    assert shown["tasks"].pop("folder") == f"…/{Path(kept['tasks'].pop('folder')).name}"
    assert shown == kept
    assert model_title(recipe.model_copy(update={"model": "demo"})) == "all-MiniLM-L6-v2"
    # What is no path stays as it is written, remarks too.
    written = "model: 'owner/model'  # a remark\nsource: [{from: hub:a/b}, {from: '/data/it''s here'}, {from: ~/x}]\n"
    wanted = written.replace("'/data/it''s here'", '"…/it\'s here"').replace("~/x", "…/x")
    assert shown_recipe(written) == wanted


@pytest.mark.parametrize("page", [{"color_scheme": "dark", "viewport": {"width": 700, "height": 990}}], indirect=True)
def test_it_prints_whole_and_dark_on_white(page):
    rows = [{"x": number} for number in range(300)]
    page.evaluate(
        "rows => addTable({id: 'long', title: 'Long', section: 'tables', columns: [{key: 'x', label: 'x', number: true}], rows})",
        rows,
    )
    assert page.locator("#table-long tbody tr").count() == 0
    assert page.locator("[loading=lazy]").count() == 0
    page.pdf()
    assert page.locator("#table-long tbody tr").count() == 300
    page.emulate_media(media="print", color_scheme="dark")
    cut = "box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight + 1"
    wide = f"[...document.querySelectorAll('.scroll, pre')].filter(box => {cut})"
    assert page.evaluate(f"{wide}.map(box => box.ariaLabel ?? box.parentElement.id)") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ink = "[...document.querySelectorAll('h1, p, th button, td, pre')].map(element => getComputedStyle(element).color)"
    assert set(page.evaluate(ink)) == {"rgb(0, 0, 0)"}
    for pressed in ("nav", ".controls", ".copy", ".hint", "#cell"):
        assert not page.locator(pressed).first.is_visible()


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_what_scrolls_says_so(page):
    told = {
        table.get_attribute("id"): (
            table.locator(".hint").inner_text(),
            table.locator(".scroll").evaluate("box => [box.scrollWidth > box.clientWidth, box.scrollHeight > box.clientHeight]"),
        )
        for table in page.locator(".table").all()
    }
    assert told["table-rows"] == ("scroll for more columns and rows", [True, True])
    assert told["table-averages"] == ("", [False, False])
    for hint, (wide, tall) in told.values():
        assert ("columns" in hint, "rows" in hint) == (wide, tall)


@pytest.mark.parametrize("page", [{"device_scale_factor": 2}], indirect=True)
def test_the_picture_is_sharp_and_says_what_its_colors_mean(page):
    picture = page.evaluate_handle("document.getElementById('canvas')")

    def pixel(x, y):
        """The color on the screen, as the canvas is shown."""
        corner = picture.as_element().bounding_box()
        shot = page.screenshot(full_page=True, clip={"x": corner["x"] + 1 + x, "y": corner["y"] + 1 + y, "width": 1, "height": 1})
        return [round(255 * part) for part in imread(io.BytesIO(shot))[0, 0, :3]]

    size = "[canvas.width, canvas.height, canvas.clientWidth]"
    width, height, seen = page.evaluate(size)
    assert width == height == 2 * seen
    legend = page.locator("#legend")
    for text in ("adapter", "lora", "prefix", "inside of none", "inside of 2 of 3", "inside of all: the common region"):
        assert text in legend.inner_text()
    page.select_option("#delta", "lora")
    assert legend.inner_text().strip() == "border at 95 % of its best"
    x = seen - page.evaluate("bar.room - bar.gap - bar.width / 2")
    for metric, ends in (("score", (-1, 0)), ("loss", (0, -1))):
        page.select_option("#metric", metric)
        for y, end in zip((18, seen - 50), ends, strict=True):
            color = page.evaluate(f"data.shades.at({end})")
            wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
            assert max(abs(a - b) for a, b in zip(pixel(x, y), wanted, strict=True)) < 12, (metric, y)
    page.set_viewport_size({"width": 500, "height": 800})
    wait_until(page, f"{size}[0] === 2 * canvas.clientWidth")
    page.select_option("#slice", "1")
    assert "all at 95 % or more" in legend.inner_text()


def test_small_numbers_have_decimals_that_tell_them_apart(page, study):
    heads = page.locator("#table-disagreement th").all_inner_texts()
    column = page.locator("#table-disagreement tbody tr").nth(3).locator("td").nth(heads.index("radius"))
    assert column.inner_text() == f"{float(column.get_attribute('title')):.3f}"
    heads = page.locator("#table-regions th").all_inner_texts()
    share = page.locator("#table-regions tbody tr").first.locator("td").nth(heads.index("share %"))
    assert re.fullmatch(r"\d+\.\d", share.inner_text())


def test_roles_names_and_alternatives(page):
    assert page.locator("html").get_attribute("lang") == "en" and page.title()
    assert page.locator("main").count() == page.locator("h1").count() == 1
    for image in page.locator("img").all():
        assert len(image.get_attribute("alt")) > 20
    for name in ("Slice", "Delta", "Metric"):
        assert page.get_by_role("combobox", name=name).count() == 1
    assert page.get_by_role("checkbox", name="optimizers' trajectories").count() == 1
    assert page.get_by_role("slider", name="Threshold").count() == 1
    assert page.get_by_role("table", name="Every score").count() == 1
    assert page.locator("[aria-live=polite]").count() >= 3
    named = "element => element.labels?.length || element.ariaLabel || element.textContent.trim()"
    assert page.evaluate(f"[...document.querySelectorAll('button,select,input,canvas')].every({named})")


def test_a_study_without_landscapes_has_a_report(study, tmp_path, browser):
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    shutil.rmtree(copy / "landscapes")
    opened = browser.new_page()
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(write_report(copy).as_uri())
    assert opened.locator("#canvas").count() == 0 and opened.locator("#table-tasks tbody tr").count() == 2 and not errors
    opened.close()


def test_a_recipe_cannot_break_the_page(study, tmp_path):
    copy = tmp_path / "<b>study & {{data}}"
    shutil.copytree(study, copy)
    recipe = copy / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "# </pre><script>alert(1)</script> {{data}}\n")
    text = write_report(copy).read_text(encoding="utf-8")
    assert "<script>alert" not in text and "<b>study" not in text and "{{data}}" in text


def test_it_shows_what_can_be_drawn(study, tmp_path, monkeypatch):
    told = []
    write_report(study, tmp_path / "index.html", progress=lambda done, total, name: told.append((done, total, name)))
    names = [name for *_, name in told]
    assert [done for done, *_ in told] == list(range(1, len(told) + 1)) and {total for _, total, _ in told} == {len(told)}
    assert names == 2 * ["landscape", "panels"] + ["scores", "transfer", "disagreement", "similarity", "map", "curves"]
    unshared = replace(read_subspace(study), shared=False)
    monkeypatch.setattr("deltaspace.figures._results.read_subspace", lambda *_: unshared)
    # Of deltas without common vectors nothing is measured.
    monkeypatch.setattr("deltaspace.figures._results.read_disagreements", lambda *_: [])
    told.clear()
    write_report(study, tmp_path / "index.html", progress=lambda done, total, name: told.append(name))
    assert told == [name for name in names if name not in ("similarity", "disagreement")]


def test_the_script_is_given_masks_shares_and_shades(study):
    """What the page draws is what Python computed, cell by cell."""
    for name, landscape in read_landscapes(study).items():
        data = landscape_data(name, landscape)
        for region, packed in zip(regions(landscape, THRESHOLDS), data["regions"], strict=True):
            masks = [*packed["inside"], packed["common"]]
            for mask, wanted in zip(masks, [*region.inside, region.common], strict=True):
                bits = np.unpackbits(np.frombuffer(base64.b64decode(mask), np.uint8), bitorder="little")[: wanted.size]
                assert np.array_equal(bits.astype(bool), wanted.ravel())
            assert packed["shares"] == {key: [s.value, s.low, s.high] for key, s in region.shares.items()}
        for delta, scores in zip(data["deltas"], landscape.filled(), strict=True):
            shades = np.frombuffer(base64.b64decode(delta["shades"]["score"]), np.uint8).astype(int)
            assert len(shades) == scores.size and (np.diff(shades[np.argsort(scores.ravel())]) >= 0).all()


def test_what_has_no_report(tmp_path, study, monkeypatch, capsys):
    with pytest.raises(DeltaspaceError, match="is not a study"):
        write_report(tmp_path)
    early = tmp_path / "early"
    early.mkdir()
    shutil.copy(study / "recipe.yaml", early)
    monkeypatch.setattr("sys.argv", ["deltaspace", "report", str(early)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "nothing to report yet" in capsys.readouterr().err
