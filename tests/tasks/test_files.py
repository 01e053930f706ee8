"""Tasks from files as people have them: other columns, tables, one file for everything."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks import TaskSpec, load_task

ROWS = [(f'film {i}, "new"', "good" if i % 2 else "bad") for i in range(20)]


def write(folder, split, ending, names, rows=ROWS):
    folder.mkdir(exist_ok=True)
    if ending == "jsonl":
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    else:
        quoted = [names, *[[f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row] for row in rows]]
        text = "\r\n".join(("," if ending == "csv" else "\t").join(row) for row in quoted)
    (folder / f"{split}.{ending}").write_text(text)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
@pytest.mark.parametrize("names", [("input", "target"), ("text", "label"), ("review", "stars")])
def test_a_folder_of_any_form_and_columns_is_one_task(tmp_path, ending, names):
    for split in ("train", "dev", "test"):
        write(tmp_path / "films", split, ending, names)
    columns = {"columns": {"input": names[0], "target": names[1]}} if names[0] == "review" else {}
    task = load_task(TaskSpec.model_validate({"from": "films", **columns}), folder=tmp_path)
    assert [(example.input, example.target) for example in task.train] == ROWS


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_one_file_is_divided_in_the_same_way_every_time(tmp_path, ending):
    write(tmp_path, "my films", ending, ("text", "label"), [*ROWS, ROWS[0]])
    task = load_task(f"my films.{ending}", folder=tmp_path)
    assert task.name == "my-films"
    assert (len(task.train), len(task.dev), len(task.test)) == (14, 2, 4)
    every = [example.input for example in (*task.train, *task.dev, *task.test)]
    assert sorted(every) == sorted(text for text, _ in ROWS)
    assert load_task(f"my films.{ending}", folder=tmp_path).fingerprint == task.fingerprint


def test_values_become_labels_and_other_rows_are_left_out(tmp_path):
    (tmp_path / "stars.csv").write_text("text,stars\n" + "".join(f"film {i},{i % 5 + 1}\n" for i in range(50)))
    columns = {"target": "stars", "values": {"1": "bad", "5": "good"}}
    task = load_task(TaskSpec.model_validate({"from": "stars.csv", "columns": columns}), folder=tmp_path)
    assert list(task.labels) == ["bad", "good"]
    assert len(task.train) + len(task.dev) + len(task.test) == 20


def test_a_study_of_an_earlier_version_reads_its_folders(tmp_path):
    for split in ("train", "dev", "test"):
        write(tmp_path / "films", split, "jsonl", ("input", "target"))
    old = TaskSpec.model_validate({"from": "films", "columns": {"input": "text", "target": "label", "options": None}})
    assert load_task(old, folder=tmp_path).fingerprint == load_task("films", folder=tmp_path).fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\nfilm\n", "line 2: 1 value\\n"),
        ("text,text\na,b\n", "no names of columns"),
        ('text,label\n"a,b\n', "quotes that close"),
        ("text,label\na,b\n", "too small for three splits"),
        (f"text,label\n{'a' * 200_000},b\n", r"line 2: field larger(.|\n)*at most 131,072 characters(.|\n)*JSON Lines"),
        ("text,label\n" + "a,\n" * 20, "line 2: 'target' is not a text"),
        ("review,stars\n" + "a,b\n" * 20, r"line 2: no 'input' or 'text'(.|\n)*'review', 'stars'(.|\n)*columns"),
        ("", "too small"),
        ("text,label\na,\xff\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path, text, message):
    (tmp_path / "films.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DeltaspaceError, match=message):
        load_task("films.csv", folder=tmp_path)


def test_two_files_of_one_split_are_told(tmp_path):
    for split in ("train", "dev", "test"):
        write(tmp_path / "films", split, "jsonl", ("text", "label"))
    write(tmp_path / "films", "dev", "csv", ("text", "label"))
    with pytest.raises(DeltaspaceError, match=r"two files of its dev split(.|\n)*dev.jsonl and dev.csv"):
        load_task("films", folder=tmp_path)


@pytest.mark.parametrize(
    ("answer", "target", "options"),
    [("index", 1, "choices"), ("key", "B", "choices"), ("key", "2", ["a", "b"]), ("text", "two", ["a", "b"])],
)
def test_options_and_how_a_target_names_one(tmp_path, answer, target, options):
    row = {"question": "which", "answer": target, "choices": ["one", "two"], "a": "one", "b": "two"}
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    columns = {"input": "question", "target": "answer", "options": options, "answer": answer}
    task = load_task(TaskSpec.model_validate({"from": str(tmp_path), "name": "quiz", "columns": columns}))
    assert (task.kind, task.train[0].target, task.train[0].options) == ("multiple_choice", "two", ("one", "two"))
    if answer != "text":
        bad = row | {"answer": "7"}
        (tmp_path / "dev.jsonl").write_text(json.dumps(bad))
        with pytest.raises(DeltaspaceError, match="names none of the 2 options"):
            load_task(TaskSpec.model_validate({"from": str(tmp_path), "name": "quiz", "columns": columns}))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_values_that_no_row_has_are_told_with_those_that_rows_have(tmp_path, suffix):
    for split in ("train", "dev", "test"):
        write(tmp_path / "films", split, suffix, ("text", "label"))
    spec = TaskSpec.model_validate({"from": "films", "columns": {"values": {"-1": "worst", "+1": "best"}}})
    with pytest.raises(DeltaspaceError) as caught:
        load_task(spec, folder=tmp_path)
    error, counts = caught.value, Counter(target for _, target in ROWS).most_common()
    assert f"train.{suffix}" in error.what and "leaves out all of its" in error.what
    present = ", ".join(f"{value!r} ({count})" for value, count in counts)
    assert (error.expected, error.found) == ("one of '-1', '+1'", f"the targets {present}")


def test_many_values_are_told_in_part(tmp_path):
    (tmp_path / "films.csv").write_text("text,label\n" + "".join(f"film {i},{i % 12}\n" for i in range(40)))
    spec = TaskSpec.model_validate({"from": "films.csv", "columns": {"values": {"good": "good", "bad": "bad"}}})
    with pytest.raises(DeltaspaceError, match=r"all of its 40 rows\n  found: the targets '0' \(4\), .* and 4 others\n"):
        load_task(spec, folder=tmp_path)
