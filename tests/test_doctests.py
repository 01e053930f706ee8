"""Examples in public docstrings run as they stand."""

from __future__ import annotations

import doctest
import importlib

import pytest

from deltaspace.deltas import attach
from deltaspace.solutions import train
from deltaspace.subspace import approximate
from deltaspace.training import Training
from tests.test_house import MODULES
from tests.tiny import tiny_backbone, tiny_task

WITH_EXAMPLES = sorted(name for name, path in MODULES.items() if ">>>" in path.read_text(encoding="utf-8"))


def test_there_are_examples():
    assert len(WITH_EXAMPLES) >= 8


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module(name):
    given = {"backbone": tiny_backbone("bert"), "task": tiny_task()}
    given |= {"attach": attach, "train": train, "approximate": approximate, "Training": Training}
    module = importlib.import_module(name)
    examples = [test for test in doctest.DocTestFinder().find(module, globs={**vars(module), **given}) if test.examples]
    assert examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
