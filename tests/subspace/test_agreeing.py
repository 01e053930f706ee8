"""The agreement of stage 2: a vector is tuned through one delta and the others, which read no targets, answer as it does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.subspace import Optimization, approximate, optimize
from tests.tiny import tiny_backbone, tiny_task

HOW = Optimization(steps=30, lr=0.1, batch_size=8, evaluate_every=30, patience=None)


def made(architecture="sentence", task=None, **settings):
    plm = tiny_backbone(architecture)
    deltas = attach("lora", plm, r=2), attach("adapter", plm, bottleneck=3), attach("prefix", plm)
    subspace = approximate(deltas, [], [], dim=6, projection="gaussian")
    how = HOW.model_copy(update=settings)
    tuned = optimize(subspace, deltas[0], task or tiny_task(size=40), how, others=deltas[1:])
    return subspace, deltas, tuned


def apart(subspace, deltas, tuned):
    """How far the others answer from the first, at the end of the training."""
    task = tiny_task(size=40)
    family = deltas[0].backbone.family
    batch = family.collate(family.encode(task, task.train))
    answers = [delta.answer(subspace.decode(delta.name, tuned.trajectory[-1]), batch) for delta in deltas]
    return max((answer - answers[0]).square().sum(1).mean().item() for answer in answers[1:])


@pytest.mark.parametrize("architecture", ["sentence", "t5"])
def test_the_other_deltas_come_to_answer_alike(architecture):
    alone, together = apart(*made(architecture)), apart(*made(architecture, agreement=20.0))
    assert together < alone / 2


def test_the_others_read_no_targets():
    """What comes back through another delta does not depend on the targets."""
    plm, task = tiny_backbone("sentence"), tiny_task(size=16)
    adapter = attach("adapter", plm, bottleneck=3)
    other = {"happy": "sad", "sad": "happy"}
    turned = replace(task, train=tuple(replace(example, target=other[example.target]) for example in task.train))
    gradients = []
    for each in (task, turned):
        vector = (adapter.initial + 0.1).requires_grad_()
        adapter.answer(vector, plm.family.collate(plm.family.encode(each, each.train)))[:, 0].sum().backward()
        gradients.append(vector.grad)
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


def test_without_it_nothing_changes():
    assert torch.allclose(made()[2].vector, made(agreement=1e-12)[2].vector, atol=1e-5)


def test_several_starts_are_tuned_as_if_each_were_alone():
    alone = made(agreement=5.0, starts=("zero",), factors=(0.5,))[2]
    several = made(agreement=5.0, starts=("zero",), factors=(0.5, 1.0))[2]
    if several.factor == 0.5:
        assert torch.allclose(alone.vector, several.vector, atol=1e-4)
    else:
        assert not torch.allclose(alone.vector, several.vector, atol=1e-4)


@pytest.mark.parametrize("architecture", ["sentence", "bert", "gpt2", "t5"])
def test_losses_and_answer_are_those_of_two_passes(architecture):
    plm = tiny_backbone(architecture)
    lora, task = attach("lora", plm, r=2), tiny_task(size=12)
    batch = plm.family.collate(plm.family.encode(task, task.train))
    vector = lora.initial + 0.1 * torch.randn(lora.layout.size, generator=torch.Generator().manual_seed(0))
    losses, answer = lora.losses_and_answer(vector.unsqueeze(0), batch)
    assert torch.allclose(losses, lora.loss(vector, batch), atol=1e-6)
    assert torch.allclose(answer, lora.answer(vector, batch), atol=1e-6)
    # Square roots of probabilities: the squares of a row add up to 1.
    assert torch.allclose(answer.square().sum(1), torch.ones(len(task.train)), atol=1e-5)


def test_it_needs_others():
    plm = tiny_backbone("sentence")
    lora = attach("lora", plm, r=2)
    subspace = approximate([lora], [], [], dim=3, projection="gaussian")
    with pytest.raises(DeltaspaceError, match="agreement needs deltas to agree with"):
        optimize(subspace, lora, tiny_task(), HOW.model_copy(update={"agreement": 1.0}))
