"""Adafactor from the factors of a gradient is Adafactor from the gradient."""

from __future__ import annotations

import pytest
import torch

from deltaspace.subspace.lowrank import LowRankAdafactor, product


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_product_gives_the_gradient_as_factors():
    codes, up, factors = draw(0, 3, 5).requires_grad_(), draw(1, 40, 5).requires_grad_(), []
    target = draw(2, 3, 40)
    (product(codes, up, factors) * target).sum().backward()
    [(gradient, own)] = factors
    plain_codes, plain_up = codes.detach().requires_grad_(), up.detach().requires_grad_()
    (plain_codes @ plain_up.T * target).sum().backward()
    torch.testing.assert_close(gradient.T @ own, plain_up.grad)
    torch.testing.assert_close(codes.grad, plain_codes.grad)
    assert up.grad is None


def test_its_steps_are_those_of_the_whole_gradient():
    """Against Adafactor written out with the gradient and its squares (arXiv 1804.04235, algorithm 4)."""
    up, other = draw(0, 40, 5), draw(3, 4)
    small = other.clone().requires_grad_()
    value, factors = up.clone().requires_grad_(), []
    optimizer = LowRankAdafactor([small, value], [None, factors])
    rows, columns, expected = torch.zeros(40), torch.zeros(5), up.clone()
    for step in range(1, 4):
        optimizer.zero()
        whole = torch.zeros(40, 5)
        for part in range(2):  # two batches for one step
            gradient, codes = draw(10 * step + part, 3, 40), draw(100 * step + part, 3, 5)
            (product(codes.requires_grad_(), value, factors) * gradient).sum().backward()
            whole += gradient.T @ codes.detach()
        small.sum().backward()
        assert optimizer.norm().item() == pytest.approx((whole.square().sum() + 4).sqrt().item(), rel=1e-4)
        optimizer.step(0.01, torch.tensor(0.5))
        whole *= 0.5
        decay = 1 - step**-0.8
        rows = decay * rows + (1 - decay) * whole.square().mean(1)
        columns = decay * columns + (1 - decay) * whole.square().mean(0)
        update = whole / (rows[:, None] * columns[None] / rows.mean()).sqrt()
        expected -= 0.01 * update / update.square().mean().sqrt().clamp_min(1)
        torch.testing.assert_close(value.detach(), expected, rtol=1e-3, atol=1e-5)
    assert not small.detach().equal(other)


def test_it_goes_on_from_its_state():
    def start():
        values, factors = [draw(3, 4).requires_grad_(), draw(0, 30, 5).requires_grad_()], []
        return values, factors, LowRankAdafactor(values, [None, factors])

    def steps(values, factors, optimizer, seeds):
        for seed in seeds:
            optimizer.zero()
            decoded = product(draw(seed, 2, 5).requires_grad_(), values[1], factors)
            ((decoded * draw(seed + 50, 2, 30)).sum() + (values[0] * draw(seed, 4)).sum()).backward()
            optimizer.step(0.1, torch.tensor(1.0))

    straight = start()
    steps(*straight, range(2))
    kept = {key: tensor.clone() for key, tensor in straight[2].state().items()}
    resumed = start()
    for value, own in zip(resumed[0], straight[0], strict=True):
        value.data.copy_(own.data)
    resumed[2].load(kept)
    steps(*straight, range(2, 5))
    steps(*resumed, range(2, 5))
    assert all(one.equal(two) for one, two in zip(straight[0], resumed[0], strict=True))
