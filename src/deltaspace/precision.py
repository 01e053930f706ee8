"""The precision of matrix products: what is asked for, else bf16 on GPUs that have it. It changes no artefact's fingerprint.

What is trained, and what is kept, is fp32 in any case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from deltaspace.environment import variable_set
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]
AskedPrecision = Literal["auto", "fp32", "bf16"]
# Set by `--precision`, for this process and the workers that it starts.
VARIABLE = "DELTASPACE_PRECISION"
# What `accelerate launch --mixed_precision` sets.
_ACCELERATE = "ACCELERATE_MIXED_PRECISION"


def chosen_precision(device: torch.device) -> Precision:
    """The precision on a device: what the environment asks for; else bf16 on a GPU that has it, and fp32 on CPUs.

    Raises:
        DeltaspaceError: the environment asks for something else, such as fp16, in which losses would have to be scaled.
    """
    asked = os.environ.get(VARIABLE)
    if asked is not None:
        return precision_on(device, check_precision(asked))
    asked = os.environ.get(_ACCELERATE)
    if asked is None:
        return "bf16" if device.type == "cuda" and has_bf16(device) else "fp32"
    if asked not in ("no", "bf16"):
        raise DeltaspaceError(f"{_ACCELERATE} cannot be used", found=asked, expected="no or bf16")
    return "bf16" if asked == "bf16" else "fp32"


def precision_on(device: torch.device, asked: AskedPrecision, *, gradients: bool = True) -> Precision:
    """What is asked for; for `auto` bf16 where it was measured to be faster (docs/results.md).

    Args:
        device: where the PLM is.
        asked: `auto`, or the precision itself.
        gradients: whether something is trained through the PLM. CPUs that have AVX-512 BF16 and no AMX gain without alone.
    """
    if asked == "auto":
        return "bf16" if (has_fast_bf16 if gradients else has_bf16)(device) else "fp32"
    return asked


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes products of bf16 itself: GPUs since 2020, and CPUs with AVX-512 BF16 or AMX."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device trains faster in bf16 than in fp32: GPUs that have it, and of CPUs those with AMX."""
    import torch

    return has_bf16(device) and (device.type == "cuda" or torch.cpu._is_amx_tile_supported())


def check_precision(name: str) -> AskedPrecision:
    """The name of a precision.

    Raises:
        DeltaspaceError: there is none of this name.
    """
    for known in get_args(AskedPrecision):
        if name == known:
            return known
    raise DeltaspaceError(f"no precision {name[:80]!r}", expected=", ".join(get_args(AskedPrecision)), mend="choose one of these")


@contextmanager
def in_precision(name: str | None) -> Iterator[None]:
    """PLMs that are loaded in here compute in this precision, if one is named.

    Raises:
        DeltaspaceError: there is none of this name.
    """
    with variable_set(VARIABLE, None if name is None else check_precision(name)):
        yield


@contextmanager
def where_it_helps() -> Iterator[None]:
    """PLMs that are loaded in here compute in bf16 where that is faster, unless a precision is asked for."""
    asked = VARIABLE in os.environ or _ACCELERATE in os.environ
    with in_precision(None if asked else "auto"):
        yield
