"""Where tasks come from."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter

import pytest

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks import Limits, TaskSpec, few_shot, load_task
from deltaspace.tasks import demo as demo_module
from tests.tiny import tiny_task, write_task


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
    with pytest.raises(DeltaspaceError, match="no column 'label'"):
        load_task(wrong)


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
    whole = tiny_task("one", size=40)
    few = few_shot(whole, 8)
    assert (len(few.train), len(few.dev), few.test) == (8, 8, whole.test)
    for split in ("train", "dev"):
        assert set(Counter(example.target for example in few.split(split)).values()) == {4}
        assert set(few.split(split)) <= set(whole.split(split))
    assert few == few_shot(whole, 8)
    assert few_shot(whole, 4).train == few.train[:4]
    with pytest.raises(DeltaspaceError, match="no 100 train examples"):
        few_shot(whole, 100)


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
