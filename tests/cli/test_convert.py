"""`deltaspace convert`: any checkpoint as any other, from the command line."""

from __future__ import annotations

import json
import shutil

import pytest
from peft import PeftModel

from deltaspace.backbone import load_backbone
from deltaspace.checkpoints import CONVERT, export_delta, load_tuned
from deltaspace.cli import app, main
from deltaspace.cli.conversion import parse_delta
from deltaspace.deltas import Lora, attach, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.settings import changed
from tests.deltas.test_peft_methods import moved
from tests.tiny import examples, model, save_tiny, write_task

SHORT = ("--steps", "4", "--lr", "0.02")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a tiny sentence encoder, an adapter of it, and inputs of all kinds."""
    folder = tmp_path_factory.mktemp("convert")
    save_tiny("sentence", folder / "model")
    backbone = load_backbone(str(folder / "model"))
    adapter = attach("adapter", backbone, bottleneck=2)
    export_delta(adapter, 10 * moved(adapter), folder / "adapter")
    texts = [example.input for example in examples(12)]
    (folder / "texts.txt").write_text("\n".join(texts))
    rows = [{"input": example.input, "target": example.target} for example in examples(12)]
    (folder / "labeled.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_task(folder / "task")
    return folder


def told(capsys, *words):
    app(["convert", *map(str, words)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(("inputs", "scored"), [("texts.txt", 0), ("labeled.jsonl", 6), ("task", 8)])
def test_a_checkpoint_becomes_another(checkpoint, tmp_path, capsys, inputs, scored):
    asked = ("--to", "lora: {r: 2}", "--inputs", checkpoint / inputs, "-o", tmp_path / "out", *SHORT)
    made = json.loads(told(capsys, checkpoint / "adapter", *asked, "--json"))
    assert made["to"] == "lora" and made["agreement"]["after"]["missed"] <= made["agreement"]["before"]["missed"]
    assert (made["scores"]["target"]["count"] if scored else 0) == scored
    assert PeftModel.from_pretrained(model("sentence"), tmp_path / "out").active_peft_config.r == 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert str(checkpoint / "adapter") in card and ("accuracy on" in card) == bool(scored)


def test_there_and_back(checkpoint, tmp_path, capsys):
    task = ("--inputs", checkpoint / "task", *SHORT)
    assert "misses" not in told(capsys, checkpoint / "adapter", "--to", "lora", *task, "-o", tmp_path / "lora")
    base = ("--model", checkpoint / "model")
    assert "is missed" in told(capsys, tmp_path / "lora", "--to", "finetune", *task, *base, "-o", tmp_path / "model")
    shown = told(capsys, tmp_path / "model", "--to", "lora: {r: 8}", *task, *base, "-o", tmp_path / "again")
    assert "the truncated SVD" in shown and "100.0% decided alike" in shown
    backbone = load_backbone(str(checkpoint / "model"))
    first, second = (load_tuned(tmp_path / name, backbone) for name in ("lora", "again"))
    merged = [attached.delta.merge(attached, vector).state_dict() for attached, vector in (first, second)]
    assert all(tensor.allclose(merged[1][name], atol=1e-5) for name, tensor in merged[0].items())


def test_a_task_of_a_study(study, tmp_path, capsys):
    asked = ("--task", "three", "--delta", "prefix", "--seed", "0", "--to", "adapter", "--inputs", study.parent / "three", *SHORT)
    assert f"three of {study} as adapter" in told(capsys, study, *asked, "-o", tmp_path / "out")
    with pytest.raises(DeltaspaceError, match=r"of several tasks(.|\n)*three"):
        told(capsys, study, "--seed", "0", "--to", "adapter", "--inputs", study.parent / "three", "-o", tmp_path / "other")


def test_a_task_of_a_study_is_exported_as_another_delta(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deltaspace.checkpoints.CONVERT", changed(CONVERT, steps=4, evaluate_every=2))
    words = ("export", study, "--task", "three", "--delta", "prefix", "--seed", "0", "-o", tmp_path / "out")
    app([*map(str, words), "--as", "lora: {r: 2}", "--inputs", str(study.parent / "three")], standalone_mode=False)
    assert "converted to lora" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "three as prefix" in card and "agreement" in card and "found through prefix" in card
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 2
    for more in (["--as", "lora"], ["--inputs", "x"], ["--as", "lora", "--inputs", "x", "--merge"]):
        with pytest.raises(DeltaspaceError, match="go together"):
            app([*map(str, words), *more], standalone_mode=False)


def test_nothing_is_written_over_what_it_is_made_from(checkpoint, tmp_path):
    shutil.copytree(checkpoint / "adapter", tmp_path / "adapter")
    (tmp_path / "link").symlink_to(tmp_path / "adapter")
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    for source in ("adapter", "link", "link/../adapter"):
        words = ["convert", tmp_path / source, "--to", "lora", "--inputs", checkpoint / "texts.txt", "-o", tmp_path / "adapter"]
        with pytest.raises(DeltaspaceError, match="what it is made from is there"):
            app([*map(str, words)], standalone_mode=False)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "lara"], "no delta 'lara'"),
        (["--to", "lora: {rank: 8}"], "rank"),
        (["--to", "lora: {r: [}"], "is not YAML"),
        (["--inputs", "missing.txt"], "missing.txt is missing"),
        (["--task", "three"], "is no subspace"),
        (["--dim", "4"], "is no subspace"),
    ],
)
def test_mistakes_are_one_message(checkpoint, tmp_path, monkeypatch, capsys, words, message):
    asked = {"--to": "lora", "--inputs": str(checkpoint / "texts.txt"), "-o": str(tmp_path / "out"), words[0]: words[1]}
    options = [word for pair in asked.items() for word in pair]
    monkeypatch.setattr("sys.argv", ["deltaspace", "convert", str(checkpoint / "adapter"), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_delta_is_written_as_in_recipes():
    assert parse_delta("lora: {r: 4}") == ("lora", Lora(r=4))
    assert parse_delta("{peft: IA3, name: mine}")[0] == "mine"
    name, delta = parse_delta("{small: {method: lora, r: 1}}")
    assert (name, delta) == ("small", make_delta("lora", {"r": 1}))
