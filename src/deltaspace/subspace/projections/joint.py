"""Joint singular value decomposition of the displacements of all deltas, in closed form.

The displacements of every delta, in its units, are stacked side by side, (tasks, n_1 + ... + n_m). Left singular vectors are
codes of the tasks that all deltas share; each delta's part of the right ones is its own basis. Only the Gram matrix, (tasks,
tasks), and the basis are ever held: the stack is read in runs of columns, so that it may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

# Columns read at once, over all rows together: 2^24 numbers, 64 MiB in fp32.
_NUMBERS = 1 << 24


@runtime_checkable
class Rows(Protocol):
    """Displacements of one delta on several tasks that can be read a run of columns at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """(tasks, n)."""

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """The columns `start` to `stop`, fp32."""


class InMemory:
    """Rows that are a tensor."""

    def __init__(self, displacements: Float[Tensor, "tasks params"]) -> None:
        self._displacements = displacements

    @property
    def shape(self) -> tuple[int, int]:
        """(tasks, n)."""
        return self._displacements.shape[0], self._displacements.shape[1]

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Rows`."""
        return self._displacements[:, start:stop].float()


class InFiles:
    """Rows that lie in safetensors files, one file a task; nothing is read before it is asked for.

    Args:
        paths: the files.
        name: the tensor in each, (n,).
    """

    def __init__(self, paths: Sequence[Path], name: str = "displacement") -> None:
        self._slices = [safe_open(path, framework="pt").get_slice(name) for path in paths]

    @property
    def shape(self) -> tuple[int, int]:
        """(tasks, n)."""
        return len(self._slices), self._slices[0].get_shape()[0]

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Rows`."""
        return torch.stack([part[start:stop].float() for part in self._slices])


def runs(rows: Rows) -> Iterator[tuple[int, int]]:
    """Runs of columns that fit the memory set aside for reading."""
    count, size = rows.shape
    step = max(1, _NUMBERS // max(count, 1))
    for start in range(0, size, step):
        yield start, min(start + step, size)


def gram(rows: Rows, units: Float[Tensor, " params"]) -> Float[Tensor, "tasks tasks"]:
    """Inner products of the displacements in their units' length: (D / s) (D / s)^T where the units are equal, fp64."""
    count, size = rows.shape
    total = torch.zeros(count, count, dtype=torch.float64, device=units.device)
    for start, stop in runs(rows):
        part = rows.columns(start, stop) / units[start:stop]
        total += (part @ part.T).double()
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
    rows: Rows, units: Float[Tensor, " params"], codes: Float[Tensor, "tasks rank"], parts: list[int], sizes: list[int]
) -> Float[Tensor, "params dim"]:
    """The up-projection that takes each task's code to its displacement, as near as the codes' rank allows.

    Each direction is cut into its `parts` of the layout at borders of tensor blocks (whose order follows the model's depth), so
    that the dimensions that tasks alone would leave empty scale depths apart; the codes then repeat (`spread`).
    """
    up = codes.new_zeros(rows.shape[1], sum(parts))
    edges = {count: _edges(sizes, count) for count in set(parts)}
    for start, stop in runs(rows):
        directions = (rows.columns(start, stop) / units[start:stop]).T @ codes
        column = 0
        for row, count in enumerate(parts):
            for below, above in zip(edges[count], edges[count][1:], strict=False):
                low, high = max(start, below), min(stop, above)
                if low < high:
                    up[low:high, column] = directions[low - start : high - start, row]
                column += 1
    return up


def spread(codes: Float[Tensor, "tasks rank"], parts: list[int]) -> Float[Tensor, "tasks dim"]:
    """The codes that go with `basis`: each repeated for its parts."""
    return codes.repeat_interleave(torch.tensor(parts, device=codes.device), dim=1)


def _edges(sizes: list[int], parts: int) -> list[int]:
    # Borders of blocks that come nearest to equal parts, each part with a block at least.
    borders = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    chosen = [0]
    for part in range(1, parts):
        target = borders[-1] * part / parts
        candidates = range(chosen[-1] + 1, len(sizes) - (parts - part) + 1)
        chosen.append(min(candidates, key=lambda index: abs(borders[index] - target)))
    return [borders[index] for index in [*chosen, len(sizes)]]
