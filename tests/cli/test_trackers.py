"""Trackers: every curve and score arrives; steps never go back; nothing is tracked unless asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deltaspace.cli import app
from deltaspace.cli.trackers import Tracking
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_metadata
from deltaspace.study import load_recipe
from tests.tiny import save_tiny, write_task


@pytest.fixture
def recipe(tmp_path):
    save_tiny("bert", tmp_path / "model")
    write_task(tmp_path / "one")
    write_task(tmp_path / "two")
    steps = {"steps": 4, "evaluate_every": 2, "batch_size": 4}
    written = {"model": str(tmp_path / "model"), "deltas": [{"lora": {"r": 2}}], "dim": 1, "train": steps, "optimize": steps}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**written, "tasks": {"source": ["one"], "unseen": ["two"]}}))
    return path


def test_tensorboard_has_the_curves(recipe, tmp_path):
    out = tmp_path / "study"
    app(["run", str(recipe), "--out", str(out), "--track", "tensorboard"], standalone_mode=False)
    [folder] = {path.parent for path in (out / "tracking").rglob("events.out.tfevents*") if path.parent.name == "study"}
    events = EventAccumulator(str(folder))
    events.Reload()
    metadata = read_metadata(out / "independent/lora/two/0.safetensors")
    told = events.Scalars("independent/lora/two/0/dev score")
    assert [event.value for event in told] == pytest.approx([score for _, score, _ in metadata["curve"]], abs=1e-4)
    assert [event.step - told[0].step for event in told] == [step for step, *_ in metadata["curve"]]
    [score] = events.Scalars("independent/lora/two/0/test score")
    assert score.value == pytest.approx(metadata["row"]["score"], abs=1e-4)
    steps = [event.step for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert len(set(steps)) > len(told)


def test_steps_never_go_back(recipe, tmp_path, monkeypatch):
    tracking = Tracking("tensorboard", tmp_path / "study", load_recipe(recipe))
    seen = []
    monkeypatch.setattr(tracking._accelerator, "log", lambda values, step: seen.append(step))
    metadata = {"curve": [[0, 1.0, 1.0], [5, 1.0, 1.0]], "row": {"score": 1.0}}
    monkeypatch.setattr("deltaspace.cli.trackers.read_artefact_metadata", lambda path: metadata)
    tracking.end(SimpleNamespace(path="independent/a.safetensors"))
    tracking.end(SimpleNamespace(path="independent/b.safetensors"))
    assert seen == sorted(seen) == [0, 5, 6, 6, 11, 12]
    tracking.__exit__(None, None, None)


def test_without_being_asked_nothing_is_tracked(recipe, tmp_path):
    app(["run", str(recipe), "--out", str(tmp_path / "study")], standalone_mode=False)
    assert not (tmp_path / "study" / "tracking").exists()


def test_a_tracker_that_is_not_installed(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.cli.trackers.get_available_trackers", list)
    with pytest.raises(DeltaspaceError, match="wandb is not installed"):
        Tracking("wandb", tmp_path, load_recipe(recipe))
