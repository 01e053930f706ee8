"""Vectors around the source tasks' codes: drawing them, how far one lies from the codes, what part of one the codes span.

A vector's radius is its distance from the mixtures of the codes, in units of L, the mean length of the codes: what mixtures do is
what source solutions did, so that deltas which agree on these agree there, or nearly.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls
from torch import Tensor

# How large the weights of a mixture are together: it may go a little beyond a code.
REACH = 1.3
_HEAVY = 1e4


def mean_length(codes: Float[Tensor, "tasks dim"]) -> float:
    """L; 1 where there are no codes, or all are zero."""
    return float(codes.norm(dim=1).mean()) or 1.0 if len(codes) else 1.0


def draw_codes(
    codes: Float[Tensor, "tasks dim"], count: int, reach: float, radius: tuple[float, float], seed: int
) -> Float[Tensor, "count dim"]:
    """Vectors around source tasks' codes: a c_i + s L z, with z uniform on the sphere; more of them are near 0 than near a code.

    Args:
        codes: c_1 ... c_T.
        count: how many.
        reach: a is this times the square of a number that is uniform from 0 to 1.
        radius: s is uniform between these.
        seed: decides them.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks, dim = codes.shape
    chosen = torch.randint(tasks, (count,), generator=generator)
    shares = reach * torch.rand(count, 1, generator=generator).square()
    away = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    low, high = radius
    lengths = low + (high - low) * torch.rand(count, 1, generator=generator)
    return shares.to(codes) * codes[chosen.to(codes.device)] + (lengths * away).to(codes) * mean_length(codes)


def squared_radius(
    vectors: Float[Tensor, "rows dim"], codes: Float[Tensor, "tasks dim"], reach: float = REACH
) -> Float[Tensor, " rows"]:
    """The squares of `radius_of`; their gradient leads straight away from the nearest mixture."""
    with torch.no_grad():
        nearest = _nearest_mixture(vectors.detach(), reach * codes)
    return (vectors - nearest).square().sum(1) / mean_length(codes) ** 2


def radius_of(
    vectors: Float[Tensor, "rows dim"], codes: Float[Tensor, "tasks dim"], reach: float = REACH
) -> Float[Tensor, " rows"]:
    """How far vectors lie from the mixtures of the codes, sum w_i c_i with w_i >= 0 and sum w_i <= reach, in units of L.

    Example:
        >>> radius_of(torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([[2.0, 0.0]]))
        tensor([0., 1.])
    """
    return squared_radius(vectors, codes, reach).sqrt()


def _nearest_mixture(vectors: Float[Tensor, "rows dim"], corners: Float[Tensor, "tasks dim"]) -> Float[Tensor, "rows dim"]:
    """The nearest points of the convex hull of 0 and some corners: least squares with weights that are not negative (Lawson &
    Hanson 1974), and a row that is heavy enough to make their sum 1.
    """
    if not len(corners):
        return torch.zeros_like(vectors)
    hull = np.concatenate([corners.double().cpu().numpy(), np.zeros((1, corners.shape[1]))])
    heavy = _HEAVY * max(1.0, float(np.abs(hull).max()))
    equations = np.concatenate([hull.T, np.full((1, len(hull)), heavy)])
    weights = [nnls(equations, np.append(row, heavy))[0] for row in vectors.double().cpu().numpy()]
    return torch.from_numpy(np.stack(weights) @ hull).to(vectors)


def in_span(vector: Float[Tensor, " dim"], codes: Float[Tensor, "tasks dim"]) -> Float[Tensor, " dim"]:
    """The point nearest to a vector among the affine combinations of the codes.

    Example:
        >>> in_span(torch.tensor([1.0, 5.0]), torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
        tensor([1., 0.])
    """
    center = codes.mean(0)
    away = (codes - center).double()
    _, sizes, axes = torch.linalg.svd(away, full_matrices=False)
    # What rounding leaves of directions that there are not.
    kept = axes[sizes > 1e-6 * sizes.max().clamp_min(1e-30)]
    return center + ((vector - center).double() @ kept.T @ kept).to(vector)
