"""Displacements of one delta on several tasks: in memory, or in files that may together be larger than it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.storage import vector_location

# Numbers read at once, over all rows together: 16 MiB in fp32, which memory allocators still reuse.
_NUMBERS = 1 << 22


@runtime_checkable
class Rows(Protocol):
    """A matrix, (tasks, n), fp32, that is read in runs of columns or in single rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """(tasks, n)."""

    @property
    def device(self) -> torch.device:
        """Where what is read goes."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the numbers are kept in; what is read is fp32."""

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

    @property
    def dtype(self) -> torch.dtype:
        """See `Rows`."""
        return self._displacements.dtype

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
        return len(self._paths), self._places[0][1]

    @property
    def dtype(self) -> torch.dtype:
        """See `Rows`."""
        return self._places[0][2]

    @functools.cached_property
    def _places(self) -> list[tuple[int, int, torch.dtype]]:
        return [vector_location(path, self._name) for path in self._paths]

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Rows`."""
        return self._read(range(len(self._paths)), start, stop)

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Rows`."""
        return self._read(indices, 0, self.shape[1])

    def _read(self, indices: Sequence[int], start: int, stop: int) -> Tensor:
        found = torch.empty(len(indices), stop - start)
        for row, index in zip(found, indices, strict=True):
            offset, _, dtype = self._places[index]
            read = row if dtype == torch.float32 else torch.empty(stop - start, dtype=dtype)
            # Read, not mapped: mapped pages would count as this process's memory.
            with self._paths[index].open("rb") as file:
                file.seek(offset + start * read.element_size())
                file.readinto(read.view(torch.uint8).numpy().data)
            if read is not row:
                row.copy_(read)
        return found.to(self.device)


def stacked(rows: Rows) -> Float[Tensor, "tasks params"]:
    """All rows as one tensor, in the precision that they are kept in."""
    found = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    for start, stop in runs(rows):
        found[:, start:stop] = rows.columns(start, stop)
    return found


def runs(rows: Rows) -> Iterator[tuple[int, int]]:
    """Runs of columns that fit the memory set aside for reading."""
    count, size = rows.shape
    step = max(1, _NUMBERS // max(count, 1))
    for start in range(0, size, step):
        yield start, min(start + step, size)
