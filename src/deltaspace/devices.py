"""Which device the model goes to: what is asked for, else accelerate's choice. It changes no artefact's fingerprint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deltaspace.environment import variable_set
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    import torch

# Set by `--device`, for this process and the workers that it starts.
VARIABLE = "DELTASPACE_DEVICE"
_FORM = re.compile(r"cpu|mps|cuda(:\d{1,3})?")


def asked_device() -> str | None:
    """The device that is asked for by the environment; None where nothing is.

    Raises:
        DeltaspaceError: it is not there.
    """
    asked = os.environ.get(VARIABLE)
    return None if asked is None else check_device(asked)


def accelerate_device() -> torch.device:
    """accelerate's choice, a GPU if there is one. Processes that were started together become a group by it."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(parse_flag_from_env("ACCELERATE_USE_CPU")).device


def default_device() -> torch.device:
    """Where models go: what is asked for by the environment, else accelerate's choice.

    Raises:
        DeltaspaceError: what is asked for is not there.
    """
    import torch

    asked = asked_device()
    return accelerate_device() if asked is None else torch.device(asked)


def check_device(name: str) -> str:
    """The name of a device that is there.

    Raises:
        DeltaspaceError: there is no such device.
    """
    import torch

    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda", *(f"cuda:{index}" for index in range(count))] if count else [])]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if _FORM.fullmatch(name) is None:
        raise DeltaspaceError(
            f"no device {name[:80]!r}", expected="cpu, cuda, cuda:NUMBER or mps", mend=f"here: {', '.join(there)}"
        )
    if kind == "cuda" and count and int(number or 0) < count:
        return name
    if name in there:
        return name
    found = f"{count} GPUs that torch can use" if kind == "cuda" else "no Apple GPU that torch can use"
    raise DeltaspaceError(f"the device {name} is not there", found=found, expected=", ".join(there), mend="choose one of these")


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """In here models go to this device, if one is named.

    Raises:
        DeltaspaceError: it is not there.
    """
    with variable_set(VARIABLE, None if name is None else check_device(name)):
        yield
