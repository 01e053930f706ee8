"""The documentation as a website: it builds without a warning, its links lead somewhere, and everybody can read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import barriers, require, wait_until

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("docs", "docs_extensions", "src", "mkdocs.yml")
# One page of each kind.
PAGES = ("", "quickstart/", "idea/", "how-to/zoo/", "results/", "recipes/", "api/stages/")
WINDOWS = (
    {"viewport": {"width": 1280, "height": 900}},
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    {"viewport": {"width": 390, "height": 844}},
)


def copy_sources(folder):
    """What the site is built from; nothing is written into the checkout."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def build(folder):
    require("zensical")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. A warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    copy_sources(folder)
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served, on this machine alone."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=WINDOWS, ids=["desktop", "dark", "phone"])
def window(request, browser):
    """A browser's window; what is said on its console or asked of another server fails the test."""
    context = browser.new_context(**request.param)
    opened = context.new_page()
    trouble = []
    opened.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda asked: None if urlsplit(asked.url).hostname == "127.0.0.1" else trouble.append(asked.url))
    yield opened
    assert trouble == []
    context.close()


class Page(HTMLParser):
    """The links of a page, what it loads, and the anchors that it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.anchors.update(said[key] for key in ("id", "name") if said.get(key))
        for key in ("href", "src"):
            if said.get(key) is not None:
                (self.links if tag == "a" else self.loaded).append(said[key])


def broken(site):
    """The links and files of a site's pages that lead nowhere inside of it, and the files of other servers that they load."""
    site = site.resolve()
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for target in page.links + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loaded and parts.scheme != "data":
                    yield path.relative_to(site).as_posix(), target
                continue
            # The page for what is missing is shown at any address; its links are from the root.
            start = site if parts.path.startswith("/") else path.parent
            file = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            there = file.is_file() and file.is_relative_to(site)
            if not there or (parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors):
                yield path.relative_to(site).as_posix(), target


def test_every_link_leads_somewhere(site):
    assert len(list(site.rglob("*.html"))) > 30
    assert list(broken(site)) == []


def test_what_a_broken_link_is(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("outside of the site")
    (site / "other.html").write_text('<h1 id="there">x</h1><a href="#there">x</a><a href="/">x</a>')
    wrong = ("gone.html", "other.html#gone", "../outside.html", "#gone")
    right = ("other.html", "other.html#there", "https://example.org/gone", "#here")
    lines = "".join(f'<a href="{target}">x</a>' for target in wrong + right)
    loaded = '<img src="gone.png"><script src="https://example.org/x.js"></script><img src="data:,">'
    (site / "index.html").write_text(f'<h1 id="here">x</h1>{lines}{loaded}')
    told = {("index.html", target) for target in (*wrong, "gone.png", "https://example.org/x.js")}
    assert set(broken(site)) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[x](gone.md)", "page does not exist"),
        ("[x](idea.md#gone)", "anchor does not exist"),
        ("::: deltaspace.gone", "deltaspace.gone"),
    ],
)
def test_what_is_wrong_in_a_page_fails_the_build(line, told, tmp_path):
    copy_sources(tmp_path)
    with (tmp_path / "docs" / "quickstart.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{line}\n")
    built = build(tmp_path)
    assert built.returncode != 0 and told in built.stdout + built.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page or "index")
def test_nothing_keeps_anybody_out(page, address, window):
    window.goto(address + page)
    assert window.locator("h1").count() == 1
    assert window.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert barriers(window) == ""


def test_wide_tables_are_reached_by_keyboard(address, window):
    window.goto(address + "results/")
    boxes = ".md-typeset__scrollwrap"
    wide = f"[...document.querySelectorAll('{boxes}')].filter(box => box.scrollWidth > box.clientWidth)"
    window.wait_for_selector(f"{boxes}[tabindex='0']")
    names = window.evaluate(f"{wide}.map(box => box.tabIndex === 0 && box.ariaLabel)")
    assert len(names) > 3 and all(names) and "Table of The multi-task recipe" in names
    narrow = f"[...document.querySelectorAll('{boxes}')].filter(box => box.scrollWidth <= box.clientWidth)"
    assert not any(window.evaluate(f"{narrow}.map(box => box.hasAttribute('tabindex'))"))
    # It is as wide as its window now, whatever it was before.
    window.set_viewport_size({"width": 360, "height": 800})
    wait_until(window, f"{wide}.every(box => box.tabIndex === 0)")


@pytest.mark.parametrize("page", ["", "idea/"])
def test_pictures_have_words(page, address, window):
    window.goto(address + page)
    pictures = window.locator("article img")
    assert pictures.count() > 0
    for picture in pictures.all():
        assert len(picture.get_attribute("alt")) > 20
