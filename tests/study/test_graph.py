"""A study is a graph: a new stage is one registration; paths never collide; states follow from what is made from what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.study import (
    STAGES,
    Content,
    MadeFrom,
    Observer,
    ScoreRow,
    Stage,
    load_recipe,
    read_history,
    read_scores,
    run_study,
)
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.resources import Resources
from deltaspace.study.stage import ordered_stages
from deltaspace.study.stages.optimized import OPTIMIZED
from tests.tiny import write_example, write_task

SHORT = {"steps": 4, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}


class Length(NamedTuple):
    dim: int
    delta: str
    task: str
    seed: int


class Lengths(Stage[Length]):
    """How long each vector is, as a score: a stage that stands on another."""

    name = "lengths"
    title = "lengths of vectors"
    scale = 1.0

    def keys(self, recipe):
        return (Length(*key) for key in OPTIMIZED.keys(recipe))

    def made_from(self, resources, key):
        return MadeFrom((OPTIMIZED.artefact(tuple_key(key)),), {"scale": self.scale})

    def make(self, resources, key, resume):
        vector = OPTIMIZED.vector(resources, tuple_key(key))
        resume.tell(1, 1, "measured")
        score = self.scale * float(vector.norm())
        row = ScoreRow(self.name, key.task, key.delta, key.seed, "length", score, 1, dim=key.dim)
        return Content({"length": vector.norm().reshape(1)}, {"note": "made in the test"}, row)


def tuple_key(key):
    from deltaspace.study.stages.optimized import Key

    return Key(*key)


@pytest.fixture
def lengths():
    """The toy stage, registered for one test."""
    stage = STAGES.register(Lengths())
    yield stage
    del STAGES._things[stage.name]


class Log(Observer):
    def __init__(self):
        self.made, self.steps = [], []

    def start(self, artefact, reason):
        self.made.append((artefact.stage, reason))

    def progress(self, step, steps, text):
        self.steps.append(text)


@pytest.fixture
def recipe_file(tmp_path):
    path = write_example(tmp_path)
    change(path, train=SHORT, optimize={**SHORT, "lr": 0.2})
    return path


def change(path, **keys):
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))


def go(path, out):
    log = Log()
    run_study(load_recipe(path), out, observer=log)
    return log


def test_a_stage_of_ones_own_gets_everything_for_free(recipe_file, tmp_path, lengths, capsys):
    out = tmp_path / "study"
    first = go(recipe_file, out)
    assert [made for made in first.made if made[0] == "lengths"] == [("lengths", "missing")] * 2
    assert "measured" in first.steps
    assert sorted(Folder(out).files("lengths")) == [f"lengths/2/{delta}/unseen/0.safetensors" for delta in ("adapter", "lora")]
    # It resumes, and is valid.
    (out / "lengths/2/lora/unseen/0.safetensors").unlink()
    assert go(recipe_file, out).made == [("lengths", "missing")]
    assert go(recipe_file, out).made == []
    # What it is made from makes it stale; so do its settings.
    change(recipe_file, optimize={**SHORT, "lr": 0.3})
    stale = ["optimized", "in_span", "transferred", "lengths"]
    assert go(recipe_file, out).made == [(stage, "stale") for stage in stale for _ in range(2)]
    lengths.scale = 2.0
    assert go(recipe_file, out).made == [("lengths", "stale")] * 2
    # Its rows are everybody's rows, and the history knows it.
    rows = [row for row in read_scores(out) if row.stage == "lengths"]
    assert [row.delta for row in rows] == ["adapter", "lora"] and all(row.metric == "length" for row in rows)
    capsys.readouterr()
    app(["show", str(out), "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in told if row["stage"] == "lengths"] == [row.score for row in rows]
    app(["show", str(out)], standalone_mode=False)
    assert "Lengths of vectors" in capsys.readouterr().out
    assert read_history(out)[0].artefacts["lengths of vectors"] == 2
    # A recipe that does not ask for it leaves nothing of it in the tables.
    lengths.keys = lambda recipe: iter(())
    go(recipe_file, out)
    assert not [row for row in read_scores(out) if row.stage == "lengths"]
    assert list((out / "superseded" / "lengths").rglob("*.safetensors"))


def test_stages_stand_in_their_order():
    names = [stage.name for stage in ordered_stages()]
    before = ["zero_shot", "independent", "subspace", "reconstructed", "disagreement", "optimized"]
    assert names == [*before, "mean_code", "rivals", "in_span", "transferred", "translated", "landscapes"]
    assert [stage.name for stage in ordered_stages("optimized")] == names[:6]
    with pytest.raises(DeltaspaceError, match="no stage 'nothing'"):
        ordered_stages("nothing")


def test_everything_stands_behind_what_it_is_made_from(recipe_file, tmp_path):
    graph = Graph(Resources(load_recipe(recipe_file), Folder(tmp_path / "study")))
    ordered = graph.order(graph.wanted())
    assert len(set(ordered)) == len(ordered) == len({artefact.path for artefact in ordered}) == 4 + 4 + 1 + 1 + 2 + 2 + 2 + 2
    for number, artefact in enumerate(ordered):
        assert set(graph.made_from(artefact).artefacts) <= set(ordered[:number])
    assert len({graph.fingerprint(artefact) for artefact in ordered}) == len(ordered)
    [last] = graph.order([ordered[-1]])[-1:]
    assert last == ordered[-1]


def test_names_that_once_shared_a_file_no_longer_do(recipe_file, tmp_path):
    """Task `film` with delta `big-lora` and task `film-big` with delta `lora` had one path."""
    for name in ("film", "film-big"):
        write_task(tmp_path / name, size=16)
    deltas = {"lora": {"r": 1}, "big-lora": {"method": "lora", "r": 3}}
    tasks = {"source": ["source"], "unseen": ["film", "film-big"]}
    change(recipe_file, deltas=deltas, tasks=tasks)
    out = tmp_path / "study"
    go(recipe_file, out)
    rows = [(row.task, row.delta) for row in read_scores(out) if row.stage == "optimized"]
    assert sorted(rows) == [("film", "big-lora"), ("film", "lora"), ("film-big", "big-lora"), ("film-big", "lora")]
    assert go(recipe_file, out).made == []


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
keys = st.tuples(st.integers(1, 99), names, names, st.integers(0, 99))


@given(keys, keys)
def test_no_two_keys_have_one_path(first, second):
    paths = [OPTIMIZED.path(tuple_key(key)) for key in (first, second)]
    assert (paths[0] == paths[1]) == (first == second)


def test_a_make_that_fails_leaves_what_is_there(recipe_file, tmp_path, lengths, monkeypatch):
    out = tmp_path / "study"
    go(recipe_file, out)
    files = sorted(Folder(out).files("lengths"))
    before = {path: (out / path).read_bytes() for path in files}
    lengths.scale = 2.0

    def fail(resources, key, resume):
        raise DeltaspaceError("no length today")

    with monkeypatch.context() as failing:
        failing.setattr(lengths, "make", fail)
        with pytest.raises(DeltaspaceError, match="no length today"):
            go(recipe_file, out)
    assert {path: (out / path).read_bytes() for path in sorted(Folder(out).files("lengths"))} == before
    # When the new one is there the old one is kept, and comes back.
    assert go(recipe_file, out).made == [("lengths", "stale")] * 2
    assert len(list((out / "superseded" / "lengths").rglob("*.safetensors"))) == 2
    for scale in (1.0, 2.0, 1.0):
        lengths.scale = scale
        assert go(recipe_file, out).made == []
    assert {path: (out / path).read_bytes() for path in files} == before


def test_a_killed_write_leaves_what_is_there(recipe_file, tmp_path, lengths, monkeypatch):
    out = tmp_path / "study"
    go(recipe_file, out)
    lengths.scale = 2.0

    def killed(self, path, tensors, metadata):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            go(recipe_file, out)
    assert len([row for row in read_scores(out) if row.stage == "lengths"]) == 2
    assert go(recipe_file, out).made == [("lengths", "stale")] * 2


def test_a_json_artefact_with_tensors_is_refused(recipe_file, tmp_path, lengths):
    lengths.suffix = ".json"
    with pytest.raises(DeltaspaceError, match=r"lengths/2/adapter/unseen/0\.json cannot hold tensors[^$]*found: length"):
        go(recipe_file, tmp_path / "study")
    assert not list(Folder(tmp_path / "study").files("lengths"))


def test_a_row_of_another_artefact_is_refused(recipe_file, tmp_path, lengths, monkeypatch):
    made = lengths.make

    def other(resources, key, resume):
        content = made(resources, key, resume)
        return replace(content, row=replace(content.row, dim=None))

    monkeypatch.setattr(lengths, "make", other)
    with pytest.raises(ValueError, match="its row's dim is None, where its key says 2"):
        go(recipe_file, tmp_path / "study")
    lengths.scored = True
    monkeypatch.setattr(lengths, "make", lambda *_: Content())
    with pytest.raises(ValueError, match="no row of scores"):
        go(recipe_file, tmp_path / "study")


@pytest.mark.parametrize("part", ["../..", ".hidden", "", "a/b", "a\0b", "x" * 101, "\udc80", "-1"])
def test_a_key_that_leaves_the_study_is_refused(recipe_file, tmp_path, lengths, part):
    lengths.keys = lambda recipe: [Length(2, part, "unseen", 0)]
    with pytest.raises(DeltaspaceError, match="the stage lengths has a key"):
        go(recipe_file, tmp_path / "study")


def test_two_artefacts_of_one_path_are_refused(recipe_file, tmp_path, lengths):
    lengths.path = lambda key: f"lengths/{key.task}.safetensors"
    with pytest.raises(DeltaspaceError, match=r"two artefacts have the path lengths/unseen\.safetensors"):
        go(recipe_file, tmp_path / "study")


def test_tasks_may_be_called_like_files(recipe_file, tmp_path):
    for name in ("film.json", "film.safetensors"):
        write_task(tmp_path / name, size=16)
    change(recipe_file, tasks={"source": ["film.json"], "unseen": ["film.safetensors"]})
    go(recipe_file, tmp_path / "study")
    assert {row.task for row in read_scores(tmp_path / "study")} == {"film.json", "film.safetensors"}
    assert go(recipe_file, tmp_path / "study").made == []


def test_a_stage_says_of_which_keys_it_is():
    assert Lengths.key_type is Length
    with pytest.raises(TypeError, match="Nameless does not say of which keys it is"):
        type("Nameless", (Stage,), {})


def test_planning_looks_at_each_artefact_a_few_times_only(recipe_file, tmp_path, monkeypatch):
    """However deep the graph is: fingerprints are not sought through all that is known already."""
    change(recipe_file, seed=[0, 1, 2, 3])
    graph = Graph(Resources(load_recipe(recipe_file), Folder(tmp_path / "study")))
    looks, made_from = [], graph.made_from
    monkeypatch.setattr(graph, "made_from", lambda artefact: looks.append(artefact.path) or made_from(artefact))
    ordered = graph.order(graph.wanted())
    fingerprints = {graph.fingerprint(artefact) for artefact in ordered}
    assert len(fingerprints) == len(ordered)
    edges = sum(len(made_from(artefact).artefacts) for artefact in ordered)
    assert len(looks) <= 5 * len(ordered) + edges
