"""Displacements of one delta on several tasks: in memory, or in files that may together be larger than it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

# Numbers read at once, over all rows together: 64 MiB in fp32.
_NUMBERS = 1 << 24


@runtime_checkable
class Rows(Protocol):
    """A matrix, (tasks, n), fp32, that is read in runs of columns or in single rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """(tasks, n)."""

    @property
    def device(self) -> torch.device:
        """Where what is read goes."""

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """The columns `start` to `stop` of all rows."""

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """Some whole rows."""


class InMemory:
    """Rows that are a tensor, (tasks, n)."""

    def __init__(self, displacements: Float[Tensor, "tasks params"]) -> None:
        self._displacements = displacements

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return self._displacements.shape[0], self._displacements.shape[1]

    @property
    def device(self) -> torch.device:
        """See `Rows`."""
        return self._displacements.device

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Rows`."""
        return self._displacements[:, start:stop].float()

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Rows`."""
        return self._displacements[list(indices)].float()


class InFiles:
    """Rows that lie in safetensors files, one file a task; nothing is read before it is asked for.

    Args:
        paths: the files.
        device: where what is read goes.
        name: the tensor in each, (n,).
    """

    def __init__(self, paths: Sequence[Path], device: torch.device | str = "cpu", name: str = "displacement") -> None:
        self._paths, self.device, self._name = list(paths), torch.device(device), name

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        with safe_open(self._paths[0], framework="pt") as file:
            return len(self._paths), file.get_slice(self._name).get_shape()[0]

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Rows`."""
        return torch.stack([self._read(path, start, stop) for path in self._paths])

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Rows`."""
        return torch.stack([self._read(self._paths[index], 0, self.shape[1]) for index in indices])

    def _read(self, path: Path, start: int, stop: int) -> Tensor:
        # Opened anew each time: a file that stays open keeps the pages that were read in the process's memory.
        with safe_open(path, framework="pt") as file:
            return file.get_slice(self._name)[start:stop].to(self.device, torch.float32, copy=True)


def runs(rows: Rows) -> Iterator[tuple[int, int]]:
    """Runs of columns that fit the memory set aside for reading."""
    count, size = rows.shape
    step = max(1, _NUMBERS // max(count, 1))
    for start in range(0, size, step):
        yield start, min(start + step, size)
