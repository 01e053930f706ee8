"""Joint singular value decomposition of the displacements of all deltas, in closed form.

The displacements of every delta, in its units, are stacked side by side, (tasks, n_1 + ... + n_m). Left singular vectors are
codes of the tasks that all deltas share; each delta's part of the right ones is its own basis. Only the Gram matrix, (tasks,
tasks), and the basis are ever held: the stack is read in runs of columns, so that it may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.fitting.displacements import Displacements, runs, stacked
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps.mixture import Mixture


def gram(rows: Displacements, units: Float[Tensor, " params"] | None = None) -> Float[Tensor, "tasks tasks"]:
    """Inner products of the displacements in their units' length: (D / s) (D / s)^T where the units are equal, fp64.

    Args:
        rows: D.
        units: of its columns; 1 by default.
    """
    count, size = rows.shape
    total = torch.zeros(count, count, dtype=torch.float64, device=rows.device)
    for start, stop in runs(rows):
        part = rows.columns(start, stop)
        if units is not None:
            part = part / units[start:stop]
        total += part @ part.T
    return total / size


def shared_codes(grams: Sequence[Float[Tensor, "tasks tasks"]], rank: int) -> Float[Tensor, "tasks rank"]:
    """The leading left singular vectors of the stack whose deltas have these Gram matrices; each of length 1."""
    return torch.linalg.eigh(torch.stack(list(grams)).sum(0)).eigenvectors.flip(1)[:, :rank].float()


def cuts(dim: int, rank: int, blocks: int) -> list[int]:
    """Into how many parts each of `rank` directions is cut so that d dimensions come of them, the leading ones into more.

    A part holds at least one tensor block, so that there are at most rank * blocks dimensions; d may leave some over.
    """
    return [min(blocks, dim // rank + (row < dim % rank)) for row in range(rank)]


def basis(
    source: Source, units: Float[Tensor, " params"], codes: Float[Tensor, "tasks rank"], parts: list[int], dim: int
) -> Float[Tensor, "dim params"]:
    """The up-projection that takes each task's code to its displacement, as near as the codes' rank allows.

    Each direction is cut into its `parts` of the layout at borders of tensor blocks (whose order follows the model's depth), so
    that the dimensions that tasks alone would leave empty scale depths apart; the codes then repeat (`spread`).
    """
    rows = source.displacements
    up = codes.new_zeros(dim, source.size)
    edges = {count: _edges(source.blocks, count) for count in set(parts)}
    for start, stop in runs(rows):
        directions = (codes.T @ rows.columns(start, stop)).div_(units[start:stop])
        dimension = 0
        for row, count in enumerate(parts):
            for below, above in zip(edges[count], edges[count][1:], strict=False):
                low, high = max(start, below), min(stop, above)
                if low < high:
                    up[dimension, low:high] = directions[row, low - start : high - start]
                dimension += 1
    return up


def mixture(source: Source, codes: Float[Tensor, "tasks rank"], parts: list[int], dim: int) -> Mixture:
    """What `basis` with units would make, as a mixture of the displacements: for deltas whose basis does not fit."""
    edges = {count: _edges(source.blocks, count) for count in set(parts)}
    borders = sorted({border for listed in edges.values() for border in listed})
    mixing = codes.new_zeros(len(borders) - 1, dim, len(codes))
    for segment, start in enumerate(borders[:-1]):
        dimension = 0
        for row, count in enumerate(parts):
            for below, above in zip(edges[count], edges[count][1:], strict=False):
                if below <= start < above:
                    mixing[segment, dimension] = codes[:, row]
                dimension += 1
    return Mixture(torch.tensor(borders, device=codes.device), mixing, stacked(source.displacements))


def weighted(
    rows: Displacements, units: Float[Tensor, " params"], weights: Float[Tensor, "tasks dim"]
) -> Float[Tensor, "dim params"]:
    """Sums of the displacements in their units, one for each column of weights: W^T (D / units)."""
    return torch.cat([(weights.T @ rows.columns(start, stop)).div_(units[start:stop]) for start, stop in runs(rows)], dim=1)


def spread(codes: Float[Tensor, "tasks rank"], parts: list[int]) -> Float[Tensor, "tasks dim"]:
    """The codes that go with `basis`: each repeated for its parts."""
    return codes.repeat_interleave(torch.tensor(parts, device=codes.device), dim=1)


def _edges(sizes: Sequence[int], parts: int) -> list[int]:
    # Borders of blocks that come nearest to equal parts, each part with a block at least.
    borders = [0, *torch.tensor(list(sizes)).cumsum(0).tolist()]
    chosen = [0]
    for part in range(1, parts):
        target = borders[-1] * part / parts
        candidates = range(chosen[-1] + 1, len(sizes) - (parts - part) + 1)
        chosen.append(min(candidates, key=lambda index: abs(borders[index] - target)))
    return [borders[index] for index in [*chosen, len(sizes)]]
