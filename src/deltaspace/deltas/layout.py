"""The fixed, documented order in which a delta's parameters make one flat vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a delta's parameters, in order; each stands row-major behind the one before.

    Args:
        entries: (name, shape) of every parameter.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers in each parameter."""
        return [math.prod(shape) for _, shape in self.entries]

    @property
    def size(self) -> int:
        """n, the length of the vector."""
        return sum(self.sizes)

    def split(self, vector: Float[Tensor, "*groups params"]) -> dict[str, Tensor]:
        """The parameters as views into `vector`, or into several vectors, (groups, n).

        Raises:
            DeltaspaceError: the vector, or each of them, has not n numbers.
        """
        if vector.shape[-1:] != (self.size,):
            raise DeltaspaceError("a delta's parameters do not fit", found=tuple(vector.shape), expected=f"({self.size},)")
        # One split, not a slice for each: its backward is one concatenation.
        parts = torch.split(vector, self.sizes, dim=-1)
        return {name: part.unflatten(-1, shape) for (name, shape), part in zip(self.entries, parts, strict=True)}

    def flatten(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, " params"]:
        """The vector of `parameters`; the inverse of `split`."""
        return torch.cat([parameters[name].reshape(-1) for name, _ in self.entries])
