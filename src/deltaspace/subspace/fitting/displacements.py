"""Displacements of one delta on several tasks: in memory, or in files that may together be larger than it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import vector_location

# Numbers read at once, over all rows together: 16 MiB in fp32, which memory allocators still reuse.
_NUMBERS = 1 << 22


@runtime_checkable
class Displacements(Protocol):
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
        """See `Displacements`."""
        return self._displacements.shape[0], self._displacements.shape[1]

    @property
    def device(self) -> torch.device:
        """See `Displacements`."""
        return self._displacements.device

    @property
    def dtype(self) -> torch.dtype:
        """See `Displacements`."""
        return self._displacements.dtype

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Displacements`."""
        return self._displacements[:, start:stop].float()

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Displacements`."""
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
        """See `Displacements`."""
        return len(self._paths), self._locations[0][1]

    @property
    def dtype(self) -> torch.dtype:
        """See `Displacements`."""
        return self._locations[0][2]

    @functools.cached_property
    def _locations(self) -> list[tuple[int, int, torch.dtype]]:
        return [vector_location(path, self._name) for path in self._paths]

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Displacements`."""
        return self._read(range(len(self._paths)), start, stop)

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Displacements`."""
        return self._read(indices, 0, self.shape[1])

    def _read(self, indices: Sequence[int], start: int, stop: int) -> Tensor:
        rows = torch.empty(len(indices), stop - start)
        for row, index in zip(rows, indices, strict=True):
            offset, _, dtype = self._locations[index]
            read = row if dtype == torch.float32 else torch.empty(stop - start, dtype=dtype)
            # Read, not mapped: mapped pages would count as this process's memory. And not buffered: it is one stretch of bytes.
            with FileIO(self._paths[index]) as file:
                file.seek(offset + start * read.element_size())
                _fill(read.view(torch.uint8).numpy().data, file, self._paths[index])
            if read is not row:
                row.copy_(read)
        return rows.to(self.device)


def _fill(memory: memoryview, file: FileIO, path: Path) -> None:
    while memory:
        if not (count := file.readinto(memory)):
            raise DeltaspaceError(f"{path} ends too early", expected="the file as it was written", mend="run the study again")
        memory = memory[count:]


class Displaced:
    """Rows as they lie from a point.

    Args:
        rows: (tasks, n).
        point: (n,).
    """

    def __init__(self, rows: Displacements, point: Float[Tensor, " params"]) -> None:
        self._rows, self._point = rows, point

    @property
    def shape(self) -> tuple[int, int]:
        """See `Displacements`."""
        return self._rows.shape

    @property
    def device(self) -> torch.device:
        """See `Displacements`."""
        return self._rows.device

    @property
    def dtype(self) -> torch.dtype:
        """See `Displacements`."""
        return self._rows.dtype

    def columns(self, start: int, stop: int) -> Float[Tensor, "tasks run"]:
        """See `Displacements`."""
        return self._rows.columns(start, stop) - self._point[start:stop]

    def take(self, indices: Sequence[int]) -> Float[Tensor, "rows params"]:
        """See `Displacements`."""
        return self._rows.take(indices) - self._point


class Centered(Displaced):
    """Rows without their mean.

    Args:
        rows: (tasks, n).
    """

    def __init__(self, rows: Displacements) -> None:
        self.mean: Float[Tensor, " params"] = torch.cat([rows.columns(*run).mean(0) for run in runs(rows)])
        super().__init__(rows, self.mean)


def stacked(rows: Displacements) -> Float[Tensor, "tasks params"]:
    """All rows as one tensor in memory, in the precision that they are kept in."""
    whole = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    for start, stop in runs(rows):
        whole[:, start:stop] = rows.columns(start, stop)
    return whole


def runs(rows: Displacements) -> Iterator[tuple[int, int]]:
    """Runs of columns that fit the memory set aside for reading."""
    count, size = rows.shape
    step = max(1, _NUMBERS // max(count, 1))
    for start in range(0, size, step):
        yield start, min(start + step, size)
