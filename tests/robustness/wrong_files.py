"""Files of tasks, manifests, inputs and sweeps with a mistake, and what the message must say."""

from __future__ import annotations

import json


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


_GOOD = _line(input="good film", target="happy")

# In place of a task's train.jsonl.
TASK_FILES = [
    (None, "train.jsonl is missing"),
    (b"", "its train split is empty"),
    (b"\n \n\t\n", "its train split is empty"),
    (b'{"input": "a"', "train.jsonl, line 1: not JSON"),
    (_GOOD + b"x\n", "train.jsonl, line 2: not JSON"),
    (_GOOD + b"\xff\xfe\n", "train.jsonl, line 2: not UTF-8"),
    ("\ufeff".encode() + b"x", "line 1: not JSON"),
    (b"\x00\x00\n", "line 1: not JSON"),
    ('{"input": "a", "target": "b"}\n'.encode("utf-16"), "line 1: not UTF-8"),
    (b"[1]", "line 1: not an object"),
    (b"null", "line 1: not an object"),
    (b"3", "line 1: not an object"),
    (b'"a"', "line 1: not an object"),
    (b"NaN", "line 1: not JSON"),
    (b"{}", "no 'input'"),
    (_line(input="a"), "no 'target'"),
    (_line(target="a"), "no 'input'"),
    (_line(input="", target="a"), "'input' is not a text"),
    (_line(input="  ", target="a"), "'input' is not a text"),
    (_line(input=3, target="a"), "'input' is not a text"),
    (_line(input="a", target={"a": 1}), "'target' is not a text"),
    (_line(input="a", target=None), "'target' is not a text"),
    (_line(input=["a"], target="b"), "'input' is not a text"),
    (_line(input="a", target="b", options="b"), "'options' is not a list of texts"),
    (_line(input="a", target="b", options=[]), "'options' is not a list of texts"),
    (_line(input="a", target="b", options=["b", 3]), "'options' is not a list of texts"),
    (_line(input="a", target="b", options=["b", ""]), "'options' is not a list of texts"),
    (_line(input="a", target="b", options=["b", "b"]), "the option 'b' stands twice"),
    (_line(input="a", target="b", options=["c"]), "not one of the options"),
    (_line(input="a", target="b", options={"b": 1}), "'options' is not a list of texts"),
    (b'{"input": "a\\ud800", "target": "b"}\n', "line 1: half of a character"),
    (b'{"input": "a", "target": "\\udfff"}\n', "line 1: half of a character"),
    (b'{"input": "a", "input": "b", "target": "c"}\n', "'input' stands twice"),
    (b'{"input": ' + b"9" * 5000 + b', "target": "b"}', "line 1"),
    (b"[" * 100_000, "line 1: not JSON"),
    (b'{"a":' * 100_000, "line 1: not JSON"),
    (b'{"input": "a", "target": "b"} {"input": "a", "target": "b"}', "line 1: not JSON"),
    (b'{"input": "a", "target": NaN}', "line 1: not JSON"),
    (_GOOD * 5, "all its training examples have one target"),
]

# Of the folder of tasks, in which the task is called two.
MANIFESTS = [
    (b"", "manifest.json"),
    (b"{", "manifest.json"),
    (b"{}", "is not a manifest"),
    (b"3", "is not a manifest"),
    (b"\xff", "manifest.json"),
    (b"[" * 100_000, "manifest.json"),
    (b"9" * 5000, "manifest.json"),
    (b'[{"name": "two", "kind": "other"}]', "found 'other'"),
    (b'[{"name": "two", "kind": true}]', "found True"),
    (b'[{"name": "two", "metric": "f2"}]', "no metric 'f2'"),
    (b'[{"name": "two", "metric": 3}]', "metric: should be a text (found 3)"),
    (b'[{"name": "two", "metric": "pearson"}]', "the metric pearson is not for a classification task"),
    (b'[{"name": "two", "labels": "happy"}]', "labels"),
    (b'[{"name": "two", "labels": ["happy", "happy"]}]', "the label 'happy' stands twice"),
    (b'[{"name": "two", "labels": {"happy": "good", "sad": "good"}}]', "two labels are read as 'good'"),
    (b'[{"name": "two", "labels": ["good", "bad"]}]', "the target is not one of the labels"),
    (b'[{"name": "two", "labels": ["happy\\ud800", "sad"]}]', "half of a character"),
    (b'[{"name": "two"}, {"name": "two"}]', "two entries of two"),
    (b'[{"name": "two", "name": "three"}]', "'name' stands twice"),
]

# Of `translate --inputs`; those of the second list are JSON Lines.
INPUTS = [
    (None, "is missing"),
    (b"", "is empty"),
    (b" \n\n", "is empty"),
    (b"\xff\xfe", "not UTF-8"),
    (b"a\x00b", "line 1"),
    (b"\xed\xa0\x80", "not UTF-8"),
]
JSON_INPUTS = [
    (b"{", "line 1: no input"),
    (b"3", "line 1: no input"),
    (b"null", "line 1: no input"),
    (b"[1]", "line 1: no input"),
    (b"{}", "line 1: no input"),
    (b'{"input": 3}', "line 1: no input"),
    (b'{"input": ""}', "line 1: no input"),
    (b'{"input": "a"}\n{"input": null}', "line 2: no input"),
    (b'{"input": "\\ud800"}', "half of a character"),
    (b"[" * 100_000, "line 1: no input"),
    (b"9" * 5000, "line 1: no input"),
]

# Sweeps over a right recipe, recipe.yaml.
SWEEPS = [
    ("", "is empty"),
    ("- a", "is not a mapping"),
    ("recipe: recipe.yaml", "grids: is missing"),
    ("grids: {dim: 2}", "recipe: is missing"),
    ("recipe: nothing.yaml\ngrids: {dim: [2]}", "nothing.yaml is missing"),
    ('recipe: "a\\0b"\ngrids: {dim: [2]}', "a NUL"),
    ("recipe: one\ngrids: {dim: [2]}", "a task's folder"),
    ("recipe: 3\ngrids: {dim: [2]}", "recipe: should be a text"),
    ("recipe: recipe.yaml\ngrids: []", "grids: should have at least 1 entry"),
    ("recipe: recipe.yaml\ngrids: 3", "grids: should be a mapping or a list"),
    ("recipe: recipe.yaml\ngrids: [3]", "grids.0: should be a mapping"),
    ("recipe: recipe.yaml\ngrids: {}\nmore: 3", "more: unknown key"),
    ("recipe: recipe.yaml\ngrids: {dims: [2]}", "grids.dims: unknown key"),
    ("recipe: recipe.yaml\ngrids: {dim: [0]}", "d is at least 1"),
    ("recipe: recipe.yaml\ngrids: {dim: [2, 2]}", "2 stands twice"),
    ("recipe: recipe.yaml\ngrids: {dim: [2.0]}", "should be a whole number"),
    ("recipe: recipe.yaml\ngrids: {dim: [true]}", "should be a whole number"),
    ("recipe: recipe.yaml\ngrids: {dim: [010]}", "010 is no plain number"),
    ("recipe: recipe.yaml\ngrids: {seed: [-1]}", "should be greater than or equal to 0"),
    ("recipe: recipe.yaml\ngrids: {source_tasks: [5]}", "cannot take source_tasks: 5"),
    ("recipe: recipe.yaml\ngrids: {source_tasks: [0]}", "cannot take source_tasks: 0"),
    ("recipe: recipe.yaml\ngrids: {source_tasks: [1, 1]}", "1 stands twice"),
    ("recipe: recipe.yaml\ngrids: {deltas: [5]}", "cannot take deltas: 5"),
    ("recipe: recipe.yaml\ngrids: {deltas: [true]}", "should be a whole number"),
    ("recipe: recipe.yaml\ngrids: {projection: nothing}", "no projection 'nothing'"),
    ("recipe: recipe.yaml\ngrids: {projection: [{svd: 3}]}", "the settings of svd are a mapping"),
    ("recipe: recipe.yaml\ngrids: {projection: [3]}", "name one projection"),
    ("recipe: recipe.yaml\ngrids: {projection: [svd, svd]}", "stands twice"),
    ("recipe: recipe.yaml\ngrids: {projection: [{aligned: {leader: nobody}}]}", "no leader 'nobody'"),
    (
        "recipe: recipe.yaml\ngrids: {dim: ["
        + ", ".join(map(str, range(1, 2001)))
        + "], seed: ["
        + ", ".join(map(str, range(2000)))
        + "]}",
        "points",
    ),
]
# A sweep's own list of points, sweep.yaml in its folder.
_POINT = "{name: a, projection: svd, source_tasks: 1, deltas: 1, dim: 2}"
POINTS = [
    ("", "damaged"),
    ("3", "damaged"),
    ("a: 3", "damaged"),
    ("[3]", "damaged"),
    ("[{}]", "damaged"),
    ("[{name: a}]", "damaged"),
    (f"[{_POINT.replace('name: a', 'name: ../evil')}]", "damaged"),
    (f"[{_POINT.replace('name: a', 'name: 3')}]", "damaged"),
    (f"[{_POINT.replace('deltas: 1', 'deltas: x')}]", "damaged"),
    (f"[{_POINT.replace('dim: 2', 'dim: true')}]", "damaged"),
    (f"[{_POINT.replace('projection: svd', 'projection: [3]')}]", "damaged"),
    (f"[{_POINT}, {_POINT}]", "damaged"),
    ("[" * 5000, "damaged"),
    ("[!!python/name:os.system ]", "damaged"),
    ("2024-99-99", "damaged"),
    ("9" * 5000, "damaged"),
    ("\x00", "damaged"),
]
