"""Rivals: peft's methods for few numbers, in one vector each, and through the same loop."""

from __future__ import annotations

import pytest
import torch

from deltaspace.deltas import Peft, attach
from deltaspace.errors import DeltaspaceError
from deltaspace.rivals import RANDOM, RIVALS, attach_rival, tune
from deltaspace.subspace import Optimization
from tests.tiny import tiny_backbone, tiny_task

METHODS = [name for name in RIVALS if name != RANDOM]
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
    found = tune(attach_rival(name, 8, backbone), task, settings, lr=0.01)
    alone = [
        tune(attach_rival(name, 8, backbone), task, settings.model_copy(update={"factors": (factor,)}), lr=0.01)
        for factor in (1.0, 10.0)
    ]
    assert not any(other.fit.best.better_than(found.fit.best) for other in alone)
    assert any(other.factor == found.factor and other.vector.equal(found.vector) for other in alone)


def test_mistakes_are_told(backbone):
    with pytest.raises(DeltaspaceError, match="no rival"):
        attach_rival("random", 8, backbone)
    with pytest.raises(DeltaspaceError, match="no method"):
        attach(Peft(peft="NOTHING"), backbone)
    with pytest.raises(DeltaspaceError, match="does not fit"):
        attach_rival("vblora", 8, backbone)
