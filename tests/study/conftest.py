"""A study that is long enough to be disturbed, and what it comes to where nothing disturbs it."""

from __future__ import annotations

import pytest

from deltaspace.study import load_recipe, run_study
from tests.robustness.test_kills import contents
from tests.study.example import longer
from tests.tiny import write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A recipe, and what one process makes of it."""
    root = tmp_path_factory.mktemp("example")
    recipe = longer(write_example(root))
    run_study(load_recipe(recipe), root / "serial")
    return recipe, contents(root / "serial")
