"""The matrix products of a PLM: their precision, and the frozen weights in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deltaspace.precision import Precision


class Products:
    """The matrix products of one PLM.

    Args:
        device: where the PLM is.
        precision: that of all products that are computed in `computing`.
    """

    def __init__(self, device: torch.device, precision: Precision) -> None:
        self._device = device
        self.precision: Precision = precision
        # By the identity of what they were cast from, which is kept beside them, so that it stays theirs.
        self._cast: dict[int, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Everything that runs the PLM runs in here."""
        with ExitStack() as stack:
            if self.precision == "bf16":
                stack.enter_context(torch.autocast(self._device.type, torch.bfloat16))
                if self._device.type == "cpu" and torch.is_grad_enabled():
                    # torch's fused attention goes back ten times slower in bf16 than in fp32 on CPUs (2.13).
                    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    @contextmanager
    def of(self, precision: Precision) -> Iterator[None]:
        """In here products are of this precision."""
        before, kept = self.precision, dict(self._cast)
        self.precision = precision
        try:
            yield
        finally:
            self.precision, self._cast = before, kept

    def weight(self, parameter: Tensor) -> Tensor:
        """A frozen weight as products take it: cast once, not at every product."""
        if self.precision == "fp32":
            return parameter
        known = self._cast.get(id(parameter))
        if known is None:
            known = self._cast[id(parameter)] = (parameter, parameter.to(torch.bfloat16))
        return known[1]
