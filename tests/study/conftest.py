"""A study that is long enough to be disturbed, and what it comes to where nothing disturbs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deltaspace.study import load_recipe, run_study
from tests.robustness.test_kills import contents
from tests.study.example import longer
from tests.tiny import write_example

FAULTY = Path(__file__).parent / "faulty.txt"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A recipe, and what one process makes of it."""
    root = tmp_path_factory.mktemp("example")
    recipe = longer(write_example(root))
    run_study(load_recipe(recipe), root / "serial")
    return recipe, contents(root / "serial")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """An installed package with the stage whose artefacts fail."""
    packages = tmp_path_factory.mktemp("packages")
    metadata = packages / "faulty-1.0.dist-info"
    metadata.mkdir()
    shutil.copy(FAULTY, packages / "faulty.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[deltaspace.stages]\nfaulty = faulty\n")
    return packages
