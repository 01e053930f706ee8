"""What deltas write for a few test examples is kept with their scores, read back and shown in the report."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from deltaspace.report.page import write_report
from deltaspace.study import load_recipe, read_answers, read_scores, run_study
from tests.tiny import save_tiny, write_task

SHORT = {"steps": 4, "evaluate_every": 4, "batch_size": 4, "lr": 0.02}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study with a task that is written and one that is ranked."""
    folder = tmp_path_factory.mktemp("answers")
    save_tiny("llama", folder / "model")
    for name in ("one", "two", "three"):
        write_task(folder / name, size=16)
    generated = [{"from": name, "kind": "generation", "metric": "exact_match"} for name in ("one", "two")]
    recipe = {
        "model": str(folder / "model"),
        "deltas": [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}],
        "tasks": {"source": [generated[0]], "unseen": [generated[1], "three"]},
        "dim": 2,
        "train": SHORT,
        "optimize": {**SHORT, "lr": 0.1},
        "disagreement": False,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_study(load_recipe(folder / "recipe.yaml"), folder / "study")
    return folder / "study"


def test_answers_are_those_of_the_first_test_examples(written):
    examples = [json.loads(line) for line in (written.parent / "two" / "test.jsonl").read_text().splitlines()]
    answers = [answer for answer in read_answers(written) if answer.task == "two" and answer.stage == "optimized"]
    by_delta = {delta: [answer for answer in answers if answer.delta == delta] for delta in ("adapter", "lora")}
    for given in by_delta.values():
        assert [(answer.input, answer.reference) for answer in given] == [
            (e["input"], e["target"]) for e in examples[: len(given)]
        ]
        assert 1 <= len(given) <= 4
    stages = {answer.stage for answer in read_answers(written)}
    assert {"zero_shot", "independent", "optimized", "transferred"} <= stages


def test_only_written_answers_are_kept(written):
    assert {answer.task for answer in read_answers(written)} == {"one", "two"}
    assert "three" in {row.task for row in read_scores(written)}


def test_the_report_shows_them(written, tmp_path):
    text = write_report(written, tmp_path / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    [table] = [table for table in data["tables"] if table["id"] == "answers"]
    assert table["rows"][0]["task"] == "two"
    labels = [column["label"] for column in table["columns"]]
    assert {"input", "reference", "zero-shot", "optimization", "transfer from lora"} <= set(labels)
    zero = next(a for a in read_answers(written) if a.stage == "zero_shot" and a.task == "two" and a.delta == "adapter")
    row = next(r for r in table["rows"] if (r["task"], r["delta"], r["input"]) == ("two", "adapter", zero.input))
    assert row["zero-shot"] == zero.text


def test_a_study_without_any_has_no_such_table(study, tmp_path):
    text = write_report(study, tmp_path / "index.html").read_text(encoding="utf-8")
    assert '"id":"answers"' not in text
    assert read_answers(study) == []
