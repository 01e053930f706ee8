"""Every optimizer finds a known minimum, keeps candidates apart, and goes on where it stopped."""

from __future__ import annotations

import pytest
import torch

from deltaspace.subspace.stages.searchers import OPTIMIZERS
from deltaspace.training import StepLoss

# Learning rate (for cma the first deviation) and steps with which each comes near the minimum below.
SETTINGS = {"adam": (0.1, 200), "lbfgs": (1.0, 40), "cma": (0.3, 60)}
MINIMUM = torch.tensor([1.0, -2.0, 0.5])
CURVATURE = torch.tensor([1.0, 10.0, 3.0])


def loss(values, _):
    return torch.stack([(CURVATURE * (value - MINIMUM).square()).sum() for value in values]).sum()


def start(name, factors=(1.0, 0.5)):
    values = [torch.zeros(3).requires_grad_(), torch.ones(3).requires_grad_()][: len(factors)]
    return values, OPTIMIZERS[name](values, factors, 0)


def go(values, optimizer, lr, steps):
    for step in range(steps):
        assert torch.isfinite(optimizer.advance(StepLoss(values, loss, [step]), lr, 100.0)).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_finds_the_minimum(name):
    values, optimizer = start(name)
    go(values, optimizer, *SETTINGS[name])
    for value in values:
        torch.testing.assert_close(value.detach(), MINIMUM, rtol=0, atol=0.05)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_candidates_do_not_touch_each_other(name):
    together, alone = start(name), start(name, (1.0,))
    go(*together, SETTINGS[name][0], 5)
    go(*alone, SETTINGS[name][0], 5)
    assert together[0][0].equal(alone[0][0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_on_from_its_state(name):
    straight, lr = start(name), SETTINGS[name][0]
    go(*straight, lr, 4)
    kept = {key: tensor.clone() for key, tensor in straight[1].state().items()}
    resumed = start(name)
    if name != "cma":  # whose values follow from what it was told
        for value, own in zip(resumed[0], straight[0], strict=True):
            value.data.copy_(own.data)
    resumed[1].load(kept)
    go(*straight, lr, 4)
    go(*resumed, lr, 4)
    assert all(one.equal(two) for one, two in zip(straight[0], resumed[0], strict=True))
