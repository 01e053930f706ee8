"""Memory: how much can be had, and a bound on what settings may ask for."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deltaspace.errors import DeltaspaceError

_FLOAT = 4
_GB = 1e9
# Numbers of a tensor below which nobody looks how much memory is free.
_WORTH_A_LOOK = 1_000_000


def free_bytes(device: torch.device | str = "cpu") -> int:
    """What can be had without pushing anything out: CUDA's or Linux's own word; elsewhere all that the machine has."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(what: str, count: int, mend: str, device: torch.device | str = "cpu") -> None:
    """See that so many fp32 numbers fit into what memory is free.

    Raises:
        DeltaspaceError: they do not.
    """
    needed, free = count * _FLOAT, free_bytes(device)
    if needed > free:
        raise DeltaspaceError(
            f"{what} needs more memory than there is",
            found=f"{_size(free)} free",
            expected=f"at least {_size(needed)}, for {count:,} numbers" if count < 10**15 else f"at least {_size(needed)}",
            mend=mend,
        )


def _size(count: int) -> str:
    return f"{count / _GB:,.1f} GB" if count < 10**24 else "more than any machine's"


@contextmanager
def bounded(what: str, mend: str, most: int | None = None) -> Iterator[None]:
    """In here no tensor is made that is larger than the memory that is free; it is refused before it is asked for.

    Args:
        what: is made, for messages.
        mend: how to make less of it.
        most: numbers that all tensors made in here have together, those that are let go again too.

    Raises:
        DeltaspaceError: one is, or they have; or the memory ends all the same.
    """
    try:
        with _Bounded(what, mend, most):
            yield
    except (MemoryError, RuntimeError) as error:
        # torch raises a RuntimeError where memory ends, or where a size is none that it can count.
        if isinstance(error, MemoryError) or any(said in str(error) for said in _SAID):
            raise DeltaspaceError(
                f"{what} needs more memory than there is", found=str(error).split("\n")[0], mend=mend
            ) from error
        raise


_SAID = ("can't allocate memory", "out of memory", "Storage size calculation overflowed", "Overflow when unpacking long")


# What makes a tensor and is given its size, first or behind the tensor that it is like.
_MAKES = re.compile(r"aten::(new_)?(empty|zeros|ones|full|rand)")


class _Bounded(TorchDispatchMode):
    def __init__(self, what: str, mend: str, most: int | None) -> None:
        super().__init__()
        self._what, self._mend, self._most = what, mend, most
        self._made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if _MAKES.match(func.name()):
            sizes = [part for part in args[:2] if isinstance(part, list | tuple) and all(isinstance(n, int) for n in part)]
            count = math.prod(sizes[0]) if sizes else args[0].numel() if args and isinstance(args[0], torch.Tensor) else 0
            self._made += count
            if self._most is not None and self._made > self._most:
                raise DeltaspaceError(
                    f"{self._what} is too large",
                    found=f"more than {self._most:,} numbers, the last {count:,} of them in one tensor",
                    expected="far less than the model itself",
                    mend=self._mend,
                )
            if count > _WORTH_A_LOOK:
                check_fits(self._what, count, self._mend)
        return func(*args, **(kwargs or {}))
