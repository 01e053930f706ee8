"""A real browser: Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
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
