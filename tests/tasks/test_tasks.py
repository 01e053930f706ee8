"""Where tasks come from."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks import (
    METRICS,
    TASK_SOURCES,
    Contents,
    Example,
    Limits,
    TaskSource,
    TaskSpec,
    few_shot,
    load_task,
    make_task,
)
from deltaspace.tasks.sources import demo as demo_module
from tests.tiny import examples, tiny_task, write_task


def test_a_folder_with_and_without_a_manifest(tmp_path):
    write_task(tmp_path / "films")
    plain = load_task("films", folder=tmp_path)
    assert (plain.name, plain.kind, plain.metric, list(plain.labels)) == ("films", "classification", "accuracy", ["happy", "sad"])
    entry = {"name": "films", "kind": "classification", "labels": ["sad", "happy"], "metric": "macro_f1"}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    told = load_task("films", folder=tmp_path, limits=Limits(train=5))
    assert (told.metric, list(told.labels), len(told.train)) == ("macro_f1", ["sad", "happy"], 5)
    assert told.fingerprint != plain.fingerprint


def test_options_make_multiple_choice(tmp_path):
    folder = write_task(tmp_path / "quiz")
    line = json.dumps({"input": "1 + 1", "target": "2", "options": ["1", "2"]})
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text(line + "\n\n" + line + "\n")
    assert load_task(str(folder)).kind == "multiple_choice"


def test_hub_data_sets_are_read_through_datasets(tmp_path):
    rows = [{"text": f"film {i}", "stars": "good" if i % 2 else "bad"} for i in range(10)]
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = TaskSpec.model_validate(
        {"from": f"hub:{tmp_path}", "name": "stars", "columns": {"input": "a {text}", "target": "stars"}}
    )
    task = load_task(spec)
    assert task.train[1].input == "a film 1"
    assert list(task.labels) == ["bad", "good"]
    wrong = TaskSpec.model_validate({"from": f"hub:{tmp_path}", "name": "stars"})
    with pytest.raises(DeltaspaceError, match="no 'target' or 'label'"):
        load_task(wrong)
    columns = {"target": "stars", "values": {"1": "bad", "5": "good"}}
    strange = TaskSpec.model_validate({"from": f"hub:{tmp_path}", "name": "stars", "columns": columns})
    with pytest.raises(
        DeltaspaceError, match=r"train: .*all of its 10 rows(.|\n)*'bad' \(5\), 'good' \(5\)(.|\n)*one of '1', '5'"
    ):
        load_task(strange)


def archive_of(ratings: str) -> bytes:
    def pack(name: str, content: bytes) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        return file.getvalue()

    inner = pack("hutto_ICWSM_2014/tweets_GroundTruth.txt", ratings.encode())
    return pack("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner)


def test_demo_ratings_become_labels(tmp_path, monkeypatch):
    lines = [f"{i}\t{2.0 if i % 2 else -1.5}\tsentence {i}" for i in range(20)]
    lines += ["98\t0.2\tneither", "99\t1.0\tsentence 0"]
    path = tmp_path / demo_module.ARCHIVE
    path.write_bytes(archive_of("\n".join(lines)))
    monkeypatch.setenv("DELTASPACE_CACHE", str(tmp_path))
    monkeypatch.setattr(demo_module, "ARCHIVE_SHA256", demo_module.file_digest(path))
    task = load_task("demo:tweets")
    every = [*task.train, *task.dev, *task.test]
    assert sorted(e.input for e in every) == sorted(f"sentence {i}" for i in range(20))
    assert {e.target for e in every if int(e.input.split()[1]) % 2} == {"positive"}


def test_few_shots_have_labels_in_equal_parts_and_are_the_same_every_time():
    whole = tiny_task("films", size=40)
    few = few_shot(whole, 8)
    assert (len(few.train), len(few.dev), few.test) == (8, 8, whole.test)
    for split in ("train", "dev"):
        assert set(Counter(example.target for example in few.split(split)).values()) == {4}
        assert set(few.split(split)) <= set(whole.split(split))
    assert few == few_shot(whole, 8)
    assert few_shot(whole, 4).train == few.train[:4]
    with pytest.raises(DeltaspaceError, match="no 100 train examples"):
        few_shot(whole, 100)


class Drawn(TaskSource):
    """A source of somebody else's, which knows what its tasks are."""

    name = "drawn"
    form = "drawn:COUNT"

    def read(self, where, spec, base):
        splits = {"train": examples(int(where)), "dev": examples(4), "test": examples(4)}
        return Contents(splits, kind="classification", metric="matthews", labels={"happy": "good", "sad": "bad"})


def test_a_task_source_is_added_by_registering_it(monkeypatch):
    monkeypatch.setattr(TASK_SOURCES, "_things", dict(TASK_SOURCES))
    TASK_SOURCES.register(Drawn())
    task = load_task("drawn:30", limits=Limits(dev=2))
    assert (task.name, task.source, len(task.train), len(task.dev)) == ("30", "drawn:30", 30, 2)
    assert (task.metric, task.labels) == ("matthews", {"happy": "good", "sad": "bad"})
    said = load_task(TaskSpec.model_validate({"from": "drawn:30", "metric": "macro_f1", "labels": ["sad", "happy"], "name": "x"}))
    assert (said.name, said.metric, list(said.labels)) == ("x", "macro_f1", ["sad", "happy"])
    with pytest.raises(DeltaspaceError, match=r"no task source 'web:two'(.|\n)*a folder, .*drawn:COUNT"):
        load_task("web:two")


def test_a_folder_whose_name_cannot_be_a_task_s_is_told():
    with pytest.raises(DeltaspaceError, match=r"no task 'my/__': '' cannot be a task's name"):
        load_task("my/__")
    assert TaskSpec.model_validate("my/a b").task_name == "a-b"
    with pytest.raises(ValidationError, match=r"'a b' cannot be a task's name: .*such as 'a-b'; give it another 'name'"):
        TaskSpec.model_validate({"from": "my/a", "name": "a b"})


def test_a_source_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(DeltaspaceError, match=r"there are a folder, demo:NAME and hub:NAME\[/CONFIG\]\[@REVISION\]"):
        load_task("web:two")


def test_a_folders_name_may_have_a_colon_further_inside(tmp_path):
    write_task(tmp_path / "a:b" / "films")
    assert load_task(f"{tmp_path}/a:b/films").name == "films"


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([Example("a", "1"), Example("b", "high")], None, r"train example 2: the target is not a number"),
        ([Example("a", "1"), Example("b", "nan")], None, r"train example 2: the target is not a number"),
        ([Example("a", "1"), Example("b", "2")], ["1", "2", "many"], r"a label of a regression is not a number(.|\n)*'many'"),
        ([Example("a", "1"), Example("b", "2")], {"1": "few", "2": "two", "many": "many"}, "a label of a regression"),
        ([Example("a", "1", ("1", "many")), Example("b", "1", ("1", "2"))], None, r"example 1: an option of a regression"),
        (
            [Example("a", "1", ("1", "2")), Example("b", "1", ("2", "3"))],
            None,
            r"example 2: the target is not one of the options",
        ),
    ],
)
def test_a_regression_has_numbers_only(rows, labels, message):
    splits = {"train": rows, "dev": rows, "test": rows}
    with pytest.raises(DeltaspaceError, match=message):
        make_task("numbers", splits, source="here", kind="regression", labels=labels)


def test_a_task_is_made_from_any_mapping_of_sequences():
    rows = tuple(examples(12))
    splits = MappingProxyType({"train": rows, "dev": rows[:4], "test": rows[:4]})
    task = make_task("films", splits, source="here", labels=("sad", "happy"), limits={"train": 6})
    assert (task.train, list(task.labels)) == (rows[:6], ["sad", "happy"])
    listed = make_task("films", {split: list(few) for split, few in splits.items()}, source="here", labels=["sad", "happy"])
    assert listed.fingerprint == make_task("films", splits, source="here", labels=("sad", "happy")).fingerprint
    with pytest.raises(DeltaspaceError, match=r"its dev split is missing(.|\n)*train, test(.|\n)*train, dev, test"):
        make_task("films", {"train": rows, "test": rows}, source="here")
    with pytest.raises(DeltaspaceError, match=r"'\.\./films' cannot be a task's name"):
        make_task("../films", splits, source="here")


def test_what_is_no_split_is_told():
    """In an interpreter of its own, where no test checks arguments before `make_task` does."""
    script = """
from deltaspace.errors import DeltaspaceError
from deltaspace.tasks import Example, make_task
rows = [Example("a", "b")]
for dev, kind, labels in (
    (iter(rows), "classification", None),
    ([("a", "b")], "classification", None),
    (rows, "classification", "good"),
    (rows, "ranking", None),
):
    try:
        make_task("films", {"train": rows, "dev": dev, "test": rows}, source="here", kind=kind, labels=labels)
    except DeltaspaceError as error:
        print(error.what)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == [
        "task films: its dev split is no sequence",
        "task films: dev example 1 is no Example",
        "task films: labels are a list, or label: words",
        "task films: no kind 'ranking'",
    ], result.stderr


@pytest.mark.parametrize(
    ("metric", "kind"), [("pearson", "classification"), ("matthews", "generation"), ("macro_f1", "regression")]
)
def test_a_metric_judges_tasks_of_its_kinds(metric, kind):
    rows = [Example("a", "1"), Example("b", "2")]
    with pytest.raises(DeltaspaceError, match=f"the metric {metric} is not for a {kind} task"):
        make_task("films", {"train": rows, "dev": rows, "test": rows}, source="here", kind=kind, metric=metric)


def test_a_manifest_that_says_what_cannot_be_is_told(tmp_path):
    write_task(tmp_path / "films")
    (tmp_path / "manifest.json").write_text(json.dumps([{"name": "films", "kind": "ranking"}]))
    with pytest.raises(DeltaspaceError, match=r"manifest.json: the entry of films(.|\n)*kind: .*regression.*found 'ranking'"):
        load_task("films", folder=tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DeltaspaceError, match="is not a manifest"):
        load_task("films", folder=tmp_path)


def test_the_documents_source_and_metric_work(monkeypatch):
    for registry in (METRICS, TASK_SOURCES):
        monkeypatch.setattr(registry, "_things", dict(registry))
    text = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()
    names: dict = {"__name__": "documents"}
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(program, names)
    assert (names["task"].kind, len(names["task"].train)) == ("classification", 40)
    assert load_task("letters:abc").labels == {"a": "a", "b": "b", "c": "c"}
    assert METRICS["first_word"].score(["a fine film", "dull"], ["a", "fine"]) == 50


@pytest.mark.slow
def test_the_real_demo_tasks():
    sizes = {name: len(load_task(f"demo:{name}").train) for name in demo_module.DEMO_TASKS}
    assert sizes == {"tweets": 2354, "movies": 7029, "products": 2055, "editorials": 1926}


@pytest.mark.slow
def test_every_real_task_loads(shared_tasks):
    entries = json.loads((shared_tasks / "manifest.json").read_text())
    for entry in entries:
        task = load_task(str(shared_tasks / entry["name"]))
        assert (task.kind, task.metric, len(task.test)) == (entry["kind"], entry["metric"], entry["test_size"])


def test_a_classification_has_two_labels_or_more():
    rows = [Example(f"text {number}", "good") for number in range(30)]
    with pytest.raises(DeltaspaceError, match="all its training examples have one target"):
        make_task("one", {"train": rows, "dev": rows[:2], "test": rows[:2]}, source="here", kind="classification")
