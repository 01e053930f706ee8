"""Rivals: peft's methods for few numbers, in one vector each, and through the same loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import Peft, attach
from deltaspace.errors import DeltaspaceError
from deltaspace.rivals import RIVALS, Rival, attach_rival, tune
from deltaspace.subspace import Optimization
from deltaspace.training import Resume, loop
from tests.tiny import tiny_backbone, tiny_task

METHODS = [name for name, rival in RIVALS.items() if rival.make is not None]
# VB-LoRA's vectors of 32 do not divide the tiny model's 16.
TINY = [name for name in METHODS if name != "vblora"]


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone("bert")


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_every_number_of_a_rival(backbone, name):
    attached, task = attach_rival(name, 8, backbone), tiny_task("one")
    # Away from the initial vector: there, half of a LoRA has no gradient.
    vector = (attached.initial + 0.1 * torch.randn(attached.layout.size)).requires_grad_()
    attached.loss(vector, backbone.family.collate(backbone.family.encode(task, task.train[:8]))).backward()
    assert (vector.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize(("name", "size"), [("unilora", 8), ("tinylora", 8), ("fourierft", 8), ("lora-1", 2 * 2 * 32)])
def test_a_rival_has_the_numbers_that_it_says(backbone, name, size):
    # Two layers, query and value: four places.
    assert attach_rival(name, 8, backbone).layout.size == size


def test_shared_parameters_stand_once_and_move_every_module(backbone):
    attached, task = attach_rival("unilora", 8, backbone), tiny_task("one")
    batch = backbone.family.collate(backbone.family.encode(task, task.train[:8]))
    assert len(attached.layout.entries) == 1
    with torch.no_grad():
        native = dict(attached.model.named_parameters())[attached.layout.entries[0][0]]
        vector = torch.linspace(-1, 1, 8)
        applied = attached.loss(vector, batch)
        kept, native.data = native.data, vector
        assert applied.equal(backbone.family.loss(attached.model, batch))
        native.data = kept


@pytest.mark.parametrize("name", TINY)
def test_the_best_of_several_learning_rates_is_kept(backbone, name):
    task = tiny_task("one")
    settings = Optimization(steps=4, lr=1.0, batch_size=4, evaluate_every=2, factors=(1.0, 10.0))
    tuned = tune(attach_rival(name, 8, backbone), task, settings, lr=0.01)
    alone = [
        tune(attach_rival(name, 8, backbone), task, settings.model_copy(update={"factors": (factor,)}), lr=0.01)
        for factor in (1.0, 10.0)
    ]
    assert not any(other.fit.best.better_than(tuned.fit.best) for other in alone)
    assert any(other.factor == tuned.factor and other.vector.equal(tuned.vector) for other in alone)


@pytest.fixture
def anothers(monkeypatch):
    """A rival of another package, in the registry during a test."""
    monkeypatch.setattr(RIVALS, "_things", dict(RIVALS))
    return RIVALS.register(
        Rival("tiny-ia3", "https://example.org", "peft's IA3", lr=0.1, make=lambda dim, modules: Peft(peft="IA3"))
    )


def test_another_package_registers_a_rival(backbone, anothers):
    attached = attach_rival("tiny-ia3", 8, backbone)
    assert attached.delta == Peft(peft="IA3")
    settings = Optimization(steps=2, lr=1.0, batch_size=4, evaluate_every=2)
    assert tune(attached, tiny_task("one"), settings, lr=anothers.lr).vector.shape == attached.initial.shape
    with pytest.raises(DeltaspaceError, match="tiny-ia3"):
        attach_rival("nothing", 8, backbone)


def test_a_rival_is_a_method_or_a_subspace():
    assert RIVALS["random"].projection == "gaussian"
    with pytest.raises(ValueError, match="either by a method"):
        Rival("nothing", "https://example.org", "made by nothing")
    with pytest.raises(ValueError, match="learning rate"):
        Rival("slow", "https://example.org", "IA3", make=lambda dim, modules: Peft(peft="IA3"))


@pytest.mark.parametrize(("killed_at", "goes_on_at", "save_seconds"), [(3, 3, -1.0), (7, 3, -1.0), (7, 1, 1e9)])
def test_tuning_goes_on_after_a_kill(backbone, tmp_path, monkeypatch, killed_at, goes_on_at, save_seconds):
    """In the factor where it was; a finished factor is never tuned again, even where no state was saved on its way."""
    monkeypatch.setattr(loop, "_SAVE_SECONDS", save_seconds)
    task = tiny_task("one")
    settings = Optimization(steps=4, lr=1.0, batch_size=4, evaluate_every=2, factors=(1.0, 10.0))
    whole = tune(attach_rival("unilora", 8, backbone), task, settings, lr=0.01)

    def kill(done, total, text):
        told.append(done)
        if len(told) == killed_at:
            raise KeyboardInterrupt

    told: list[int] = []
    told_again: list[int] = []
    resume = Resume(tmp_path / "state.safetensors", "rival", kill)
    with pytest.raises(KeyboardInterrupt):
        tune(attach_rival("unilora", 8, backbone), task, settings, lr=0.01, resume=resume)
    again = tune(
        attach_rival("unilora", 8, backbone),
        task,
        settings,
        lr=0.01,
        resume=replace(resume, progress=lambda done, *_: told_again.append(done)),
    )
    # Of the first factor, where that was finished, no step is taken.
    assert told_again == list(range(goes_on_at, 5)) + ([1, 2, 3, 4] if killed_at == 3 else [])
    assert again.vector.equal(whole.vector) and again.factor == whole.factor and again.fit.curve == whole.fit.curve
    assert not list(tmp_path.iterdir())


def test_mistakes_are_told(backbone):
    with pytest.raises(DeltaspaceError, match="no rival"):
        attach_rival("random", 8, backbone)
    with pytest.raises(DeltaspaceError, match="no method"):
        attach(Peft(peft="NOTHING"), backbone)
    with pytest.raises(DeltaspaceError, match="does not fit"):
        attach_rival("vblora", 8, backbone)
