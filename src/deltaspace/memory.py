"""Memory: how much can be had, and a bound on what settings may ask for."""

from __future__ import annotations

import math
import os
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
def bounded(what: str, mend: str) -> Iterator[None]:
    """In here no tensor is made that is larger than the memory that is free; it is refused before it is asked for.

    Raises:
        DeltaspaceError: one is; or the memory ends all the same.
    """
    try:
        with _Bounded(what, mend):
            yield
    except (MemoryError, RuntimeError) as error:
        # torch raises a RuntimeError where memory ends, or where a size is none that it can count.
        if isinstance(error, MemoryError) or any(said in str(error) for said in _SAID):
            raise DeltaspaceError(
                f"{what} needs more memory than there is", found=str(error).split("\n")[0], mend=mend
            ) from error
        raise


_SAID = ("can't allocate memory", "out of memory", "Storage size calculation overflowed", "Overflow when unpacking long")


class _Bounded(TorchDispatchMode):
    def __init__(self, what: str, mend: str) -> None:
        super().__init__()
        self._what, self._mend = what, mend

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        size = args[0] if args else None
        # Whatever makes a tensor is given its size first.
        if (
            isinstance(size, list | tuple)
            and size
            and all(isinstance(part, int) for part in size)
            and math.prod(size) > _WORTH_A_LOOK
        ):
            check_fits(self._what, math.prod(size), self._mend)
        return func(*args, **(kwargs or {}))
