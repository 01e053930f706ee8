"""Whatever is written as a recipe, a task's file or inputs, it is taken or refused with one message: nothing else is raised."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.study import load_recipe, load_sweep
from deltaspace.tasks import load_task, read_inputs
from tests.tiny import write_task

_FEW, _MANY = 200, 5000
_RIGHT = {
    "model": "model",
    "deltas": [{"lora": {"r": 2}}, {"adapter": {"bottleneck": 2}}],
    "tasks": {
        "source": ["one"],
        "unseen": [{"from": "two", "labels": {"happy": "good", "sad": "bad"}, "prompt": "{input} {mask}"}],
    },
    "dim": [2, 4],
    "seed": [0, 1],
    "train": {"steps": 2, "lr": 0.01, "clip": 1.0},
    "projection": {"aligned": {"near": 0.5}},
    "landscapes": [{"task": "two", "points": ["lora", "zero"], "grid": "0:1:3"}],
    "disagreement": {"radii": [0.0, 1.0]},
    "limits": {"train": 8},
    "rivals": ["random"],
}
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(
        ["lora", "../evil", "", "{mask:>9}", "mean", "demo:x", "hub", "~nouser/x", "peft", "one", "two", "0:1:99999999999"]
    ),
)
_TREES = st.recursive(
    _SCALARS,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from([*_RIGHT, "lora", "from", "name", "steps", "settings"]), below, max_size=3)
    ),
    max_leaves=8,
)


def places(tree, path=()):
    """Every place of a tree."""
    yield path
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def changed(tree, path, value):
    """The tree with a value at a place."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = changed(tree[path[0]], path[1:], value)
    return copy


MUTATED = st.builds(lambda path, value: changed(_RIGHT, path, value), st.sampled_from(list(places(_RIGHT))), _TREES)


def refused_or_taken(function, *arguments):
    started = time.monotonic()
    with contextlib.suppress(DeltaspaceError):
        function(*arguments)
    assert time.monotonic() - started < 10


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_task(folder / "two")
    return folder


def fuzzed(count):
    suppressed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=suppressed)


def recipe_of_tree(place, tree):
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    refused_or_taken(load_recipe, path)
    refused_or_taken(load_sweep, path)


def recipe_of_text(place, content):
    path = place / "recipe.yaml"
    path.write_bytes(content)
    refused_or_taken(load_recipe, path)


def task_file(place, content):
    (place / "two" / "train.jsonl").write_bytes(content)
    refused_or_taken(load_task, str(place / "two"))


def manifest(place, content):
    (place / "manifest.json").write_bytes(content)
    try:
        refused_or_taken(load_task, str(place / "two"))
    finally:
        (place / "manifest.json").unlink()


def inputs(place, content):
    for name in ("texts.txt", "texts.jsonl"):
        (place / name).write_bytes(content)
        refused_or_taken(read_inputs, place / name)


_LINES = st.dictionaries(st.sampled_from(["input", "target", "options", "name", "kind", "metric", "labels"]), _TREES, max_size=4)
_BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(st.sampled_from("{}[]:,\"'-?&*!|>%@`#\n\t ab01.~<\\"), max_size=60).map(str.encode),
    st.lists(_LINES, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    _LINES.map(lambda row: json.dumps([{**row, "name": "two"}]).encode()),
)
CASES = [(recipe_of_tree, MUTATED), (recipe_of_tree, _TREES), (recipe_of_text, _BYTES)]
CASES += [(task_file, _BYTES), (manifest, _BYTES), (inputs, _BYTES)]


@pytest.mark.parametrize("count", [_FEW, pytest.param(_MANY, marks=[pytest.mark.long, pytest.mark.timeout(0)])])
@pytest.mark.parametrize(("try_it", "values"), CASES, ids=["mutated", "trees", "text", "task", "manifest", "inputs"])
def test_nothing_but_a_message_is_raised(place, try_it, values, count):
    @fuzzed(count)
    @given(values)
    def run(value):
        try_it(place, value)

    run()


def test_the_recipe_that_is_changed_is_right(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(_RIGHT))
    assert load_recipe(path).dim == (2, 4)
