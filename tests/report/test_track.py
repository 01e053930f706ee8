"""Trackers: every curve and score arrives; steps never go back; nothing is tracked unless asked for."""

from __future__ import annotations

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_metadata
from deltaspace.cli.trackers import Tracked
from deltaspace.study import Report, load_recipe
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
    [place] = {path.parent for path in (out / "tracking").rglob("events.out.tfevents*") if path.parent.name == "study"}
    events = EventAccumulator(str(place))
    events.Reload()
    own = read_metadata(out / "solutions/lora/two-0.safetensors")
    told = events.Scalars("solutions/lora/two-0/dev score")
    assert [event.value for event in told] == pytest.approx([metric for _, metric, _ in own["curve"]], abs=1e-4)
    assert [event.step - told[0].step for event in told] == [step for step, *_ in own["curve"]]
    [score] = events.Scalars("solutions/lora/two-0/test score")
    assert score.value == pytest.approx(own["row"]["score"], abs=1e-4)
    steps = [event.step for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert len(set(steps)) > len(told)


def test_steps_never_go_back(recipe, tmp_path, monkeypatch):
    tracked = Tracked(Report(), "tensorboard", tmp_path / "study", load_recipe(recipe))
    seen = []
    monkeypatch.setattr(tracked._accelerator, "log", lambda values, step: seen.append(step))
    monkeypatch.setattr(
        "deltaspace.cli.trackers.read_any", lambda path: {"curve": [[0, 1.0, 1.0], [5, 1.0, 1.0]], "row": {"score": 1.0}}
    )
    tracked.end("solutions/a.safetensors")
    tracked.end("solutions/b.safetensors")
    assert seen == sorted(seen) == [0, 5, 6, 6, 11, 12]
    tracked.__exit__(None, None, None)


def test_without_being_asked_nothing_is_tracked(recipe, tmp_path):
    app(["run", str(recipe), "--out", str(tmp_path / "study")], standalone_mode=False)
    assert not (tmp_path / "study" / "tracking").exists()


def test_a_tracker_that_is_not_installed(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.cli.trackers.get_available_trackers", list)
    with pytest.raises(DeltaspaceError, match="wandb is not installed"):
        Tracked(Report(), "wandb", tmp_path, load_recipe(recipe))
