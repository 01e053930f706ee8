"""Low-rank gradients are the gradient; Adafactor from them is Adafactor from the gradient."""

from __future__ import annotations

import pytest
import torch

from deltaspace.subspace.fitting import lowrank
from deltaspace.subspace.fitting.lowrank import LowRankAdafactor, LowRankGradient, decode_and_compare
from deltaspace.training import StepLoss

SIZE, DIM, COUNT = 40, 5, 3


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(lowrank, "_RUN", 16)  # the last one is shorter


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(seed):
    """Mixed and own codes, U, theta0, units, displacements."""
    codes = [draw(seed + i, COUNT, DIM).requires_grad_() for i in range(2)]
    return *codes, draw(seed + 2, DIM, SIZE), draw(seed + 3, SIZE), draw(seed + 4, SIZE).abs() + 0.1, draw(seed + 5, COUNT, SIZE)


def plain(mixed, own, up, initial, units, displacements):
    return initial + mixed @ up * units, (displacements / units - own @ up).norm(dim=1)


def test_decoding_and_comparing_is_what_it_says_and_gives_the_gradient_as_factors():
    gradient, target = LowRankGradient(), draw(9, COUNT, SIZE)
    given = inputs(0)
    vectors, distances = decode_and_compare(*given, gradient)
    ((vectors * target).sum() + 2 * distances.mean()).backward()
    again = inputs(0)
    again[2].requires_grad_()
    expected = plain(*again)
    ((expected[0] * target).sum() + 2 * expected[1].mean()).backward()
    torch.testing.assert_close(vectors, expected[0])
    torch.testing.assert_close(distances, expected[1])
    whole, codes, inner = gradient.joined()
    torch.testing.assert_close(codes.T @ whole, again[2].grad)
    torch.testing.assert_close(inner, whole @ whole.T)
    torch.testing.assert_close(given[0].grad, again[0].grad)
    torch.testing.assert_close(given[1].grad, again[1].grad)


def test_an_exact_reconstruction_has_no_gradient():
    mixed, own, up, initial, units, _ = inputs(0)
    gradient = LowRankGradient()
    _, distances = decode_and_compare(mixed, own, up, initial, torch.ones_like(units), (own @ up).detach(), gradient)
    distances.sum().backward()
    assert torch.isfinite(own.grad).all()


def start(small_seed=3):
    small, up, gradient = draw(small_seed, 4).requires_grad_(), draw(2, DIM, SIZE).requires_grad_(), LowRankGradient()
    return small, up, gradient, LowRankAdafactor([small, up], [None, gradient])


def objective(small, up, gradient, batches):
    def loss(_, batch):
        mixed, own, _, initial, units, displacements = inputs(100 * batch)
        vectors, distances = decode_and_compare(mixed, own, up, initial, units, displacements, gradient)
        return (vectors * draw(batch, COUNT, SIZE)).sum() + distances.sum() + small.sum()

    return StepLoss([small, up], loss, batches)


def test_its_steps_are_those_of_the_whole_gradient():
    """Against Adafactor written out with the gradient and its squares (arXiv 1804.04235, algorithm 4)."""
    small, up, gradient, optimizer = start()
    before, expected = small.detach().clone(), up.detach().clone()
    columns, rows = torch.zeros(SIZE), torch.zeros(DIM)
    for step in range(1, 4):
        batches = [2 * step, 2 * step + 1]  # two batches for one step
        whole = torch.zeros(DIM, SIZE)
        for batch in batches:
            mixed, own, _, initial, units, displacements = inputs(100 * batch)
            leaf = expected.clone().requires_grad_()
            vectors, distances = plain(mixed, own, leaf, initial, units, displacements)
            ((vectors * draw(batch, COUNT, SIZE)).sum() + distances.sum()).backward()
            whole += leaf.grad / 2
        norm = optimizer.advance(objective(small, up, gradient, batches), 0.01, 0.5)
        assert norm.item() == pytest.approx((whole.square().sum() + 4).sqrt().item(), rel=1e-4)
        whole *= 0.5 / norm
        decay = 1 - step**-0.8
        columns = decay * columns + (1 - decay) * whole.square().mean(0)
        rows = decay * rows + (1 - decay) * whole.square().mean(1)
        update = whole / (columns[None] * rows[:, None] / columns.mean()).sqrt()
        expected -= 0.01 * update / update.square().mean().sqrt().clamp_min(1)
        torch.testing.assert_close(up.detach(), expected, rtol=1e-3, atol=1e-5)
    assert not small.detach().equal(before)


def test_it_goes_on_from_its_state():
    straight = start()
    for step in range(2):
        straight[3].advance(objective(*straight[:3], [step]), 0.1, 1.0)
    kept = {key: tensor.clone() for key, tensor in straight[3].state().items()}
    resumed = start()
    for value, own in zip(resumed[:2], straight[:2], strict=True):
        value.data.copy_(own.data)
    resumed[3].load(kept)
    for step in range(2, 5):
        straight[3].advance(objective(*straight[:3], [step]), 0.1, 1.0)
        resumed[3].advance(objective(*resumed[:3], [step]), 0.1, 1.0)
    assert straight[0].equal(resumed[0])
    assert straight[1].equal(resumed[1])
