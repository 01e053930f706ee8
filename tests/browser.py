"""A real browser: Chromium, headless, driven by Playwright; and axe, which holds a page against WCAG."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


def chromium() -> Iterator[object]:
    """Chromium. Where there is none, tests that need it are skipped; in CI, which installs it, they fail."""
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Chromium ('make browser' installs it): {str(error).splitlines()[0]}")
        yield opened
        opened.close()


def require(package: str) -> None:
    """Skip the test where a package of the extra `dev` is missing; in CI, which installs it, fail."""
    if find_spec(package) is None:
        reason = f"{package} is not installed (pip install '.[dev]')"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def barriers(page: object) -> str:
    """What axe holds for serious or critical on a page that is open, one line each; nothing where all is well."""
    require("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return "\n".join(
        f"{rule['impact']}: {rule['help']}: {node['target']} {node['html'][:120]}"
        for rule in violations
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    )


def wait_until(page, expression, seconds=30.0):
    """Wait for an expression of the page to be true; while a page is laid out anew it may not be computable."""
    from playwright.sync_api import Error

    ended = time.monotonic() + seconds
    while True:
        try:
            if page.evaluate(expression):
                return
        except Error:
            if time.monotonic() > ended:
                raise
        assert time.monotonic() < ended, f"never true: {expression}"
        page.wait_for_timeout(50)
