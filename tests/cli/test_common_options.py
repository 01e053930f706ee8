"""Options that all verbs have: less on the screen, where the model goes, completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from deltaspace.backbone import load_backbone, make_backbone
from deltaspace.cli import app
from deltaspace.cli._terminal import bars, be_quiet, hint
from deltaspace.devices import VARIABLE, check_device, on_device
from deltaspace.errors import DeltaspaceError
from deltaspace.study import load_recipe, run_study
from tests.tiny import model, save_tiny, tiny_tokenizer, write_example


def invoked(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words):
    result = invoked(*words)
    assert isinstance(result.exception, DeltaspaceError), result.output + repr(result.exception)
    return str(result.exception)


def test_every_verb_has_quiet_and_those_with_a_model_a_device():
    commands = get_command(app).commands
    without = {name for name, command in commands.items() if not any("--device" in p.opts for p in command.params)}
    assert without == {"show", "status", "figure", "report", "tasks", "info"}
    assert all(any("--quiet" in p.opts for p in command.params) for command in commands.values())


def test_quiet_has_results_and_errors_alone(tmp_path):
    recipe = write_example(tmp_path)
    loud = invoked("run", recipe, "--out", tmp_path / "loud")
    assert "(missing)" in loud.stderr
    quiet = invoked("run", recipe, "--out", tmp_path / "quiet", "--quiet")
    assert quiet.exit_code == 0 and quiet.stderr == ""
    assert quiet.stdout.startswith(f"{tmp_path / 'quiet'}: ") and len(quiet.stdout.splitlines()) == 1
    assert "no such" not in quiet.stdout
    shown = invoked("show", tmp_path / "quiet", "-q")
    assert shown.stdout == invoked("show", tmp_path / "quiet").stdout and "Scores on test" in shown.stdout
    assert "is not a study" in refused("show", tmp_path / "nothing", "--quiet")


def test_hints_come_back_after_a_quiet_verb(capsys):
    with be_quiet(True):
        hint("next")
        assert bars()._console.quiet
        assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == os.environ["TQDM_DISABLE"] == "1"
    hint("after")
    assert capsys.readouterr().out == "after\n" and not bars()._console.quiet
    assert not {"HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"} & set(os.environ)


def test_a_device_that_is_not_there_is_told_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    recipe = write_example(tmp_path)
    for device in ("cuda", "cuda:1", "mps"):
        said = refused("run", recipe, "--out", tmp_path / "study", "--device", device)
        assert said.startswith(f"the device {device} is not there") and "expected: cpu" in said
    assert "no device 'tpu'" in refused("check", recipe, "--device", "tpu")
    assert not (tmp_path / "study").exists() and VARIABLE not in os.environ
    with pytest.raises(DeltaspaceError, match="the device cuda is not there"):
        load_backbone(str(tmp_path / "model"), device="cuda")


def test_devices_of_a_machine_with_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [check_device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1")] == ["cpu", "cuda", "cuda:0", "cuda:1"]
    with pytest.raises(DeltaspaceError, match=r"cuda:2 is not there(.|\n)*found: 2 GPUs(.|\n)*cpu, cuda, cuda:0, cuda:1"):
        check_device("cuda:2")


def test_a_device_changes_no_fingerprint(tmp_path):
    recipe = write_example(tmp_path)
    assert run_study(load_recipe(recipe), tmp_path / "study", until="independent") > 0
    result = invoked("train", recipe, "--out", tmp_path / "study", "--device", "cpu")
    assert result.exit_code == 0 and "nothing to do" in result.stdout


def test_models_go_where_the_variable_says(monkeypatch):
    def placed(device=None):
        return make_backbone("m", model("bert"), tiny_tokenizer("bert"), family="masked_encoder", device=device).device.type

    assert placed("cpu") == "cpu"
    with on_device("cpu"):
        assert os.environ[VARIABLE] == "cpu" and placed() == "cpu"
    monkeypatch.setenv(VARIABLE, "cuda:77")
    with pytest.raises(DeltaspaceError, match="the device cuda:77 is not there"):
        placed()
    assert placed("cpu") == "cpu"


def test_engines_that_deal_out_gpus_are_not_told_which(tmp_path):
    words = ("run", tmp_path / "recipe.yaml", "--out", tmp_path / "study")
    assert "--gpus-per-task" in refused(*words, "--ray", "local", "--device", "cpu")
    assert "CUDA_VISIBLE_DEVICES=1" in refused(*words, "--workers", 2, "--device", "cuda:1")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs_and_options(shell, tmp_path):
    words = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'deltaspace'; from deltaspace.cli import app; app(prog_name='deltaspace')",
    ]
    asked = {"bash": {"COMP_WORDS": "deltaspace ru", "COMP_CWORD": "1"}, "zsh": {"_TYPER_COMPLETE_ARGS": "deltaspace ru"}}
    asked["fish"] = {"_TYPER_COMPLETE_ARGS": "deltaspace ru", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = {**os.environ, "_DELTASPACE_COMPLETE": f"complete_{shell}", **asked[shell], "HOME": str(tmp_path)}
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert "run" in result.stdout, result.stderr
    assert "train" not in result.stdout


def test_completion_is_shown(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = invoked("--show-completion", "bash")
    assert result.exit_code == 0 and "COMPLETE" in result.stdout
    assert save_tiny
