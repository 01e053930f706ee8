"""The span of the source displacements themselves, for a delta of the PLM's own size (fine-tuning): no basis is ever made.

    up(I) = sum over segments s of (I M_s) R_s

R: (T, n), the source tasks' displacements, in the precision and the file that they are kept in (memory-mapped, bf16 allowed);
M: (segments, d, T). A segment is a run of columns (a depth of the model), so that dimensions may scale depths apart. Everything
goes over R in runs of columns that fit a processor's cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.subspace.maps.map import Map
from deltaspace.subspace.maps.registry import MAPS

# Numbers of R in a run.
_RUN = 1 << 20


@MAPS.register
@dataclass
class Mixture(Map):
    """up(I) = (I M) R; down is its pseudo-inverse.

    Args:
        edges: where segments begin and end, (segments + 1,); from 0 to n.
        mixing: M, (segments, d, T).
        rows: R, (T, n), of any floating type.
    """

    kind: ClassVar[str] = "mixture"

    edges: Int[Tensor, " _"]
    mixing: Float[Tensor, "segments dim tasks"]
    rows: Float[Tensor, "tasks params"]

    @property
    def units(self) -> Float[Tensor, " params"]:  # type: ignore[override]
        """The mean length of the displacements, in equal parts; takes the memory of one number."""
        size = self.rows.shape[1]
        squares = torch.zeros(len(self.rows), device=self.rows.device)
        for run in _runs(self.rows, 0, size):
            squares += self.rows[:, run].float().square().sum(1)
        return (squares.sqrt().mean() / math.sqrt(size)).expand(size)

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        weights = torch.einsum("kd,sdt->skt", codes, self.mixing)
        return _Mix.apply(weights, self.rows, self.edges.tolist())

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        # Least norm among the least squares, from inner products with R alone.
        (tasks, _), dim = self.rows.shape, self.mixing.shape[1]
        gram = torch.zeros(dim, dim, dtype=torch.float64, device=self.rows.device)
        products = torch.zeros(len(displacements), dim, dtype=torch.float64, device=self.rows.device)
        for mixing, start, stop in self._segments():
            inner, outer = gram.new_zeros(tasks, tasks), gram.new_zeros(len(displacements), tasks)
            for run in _runs(self.rows, start, stop):
                part = self.rows[:, run].float()
                inner += part @ part.T
                outer += displacements[:, run] @ part.T
            gram += mixing @ inner @ mixing.T
            products += outer @ mixing.T
        return (products @ torch.linalg.pinv(gram, hermitian=True)).float()

    def _segments(self) -> Iterator[tuple[Tensor, int, int]]:
        edges = self.edges.tolist()
        yield from zip(self.mixing.double(), edges, edges[1:], strict=False)

    def tensors(self) -> dict[str, Tensor]:
        return {"edges": self.edges, "mixing": self.mixing, "rows": self.rows}


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, edges: list[int]) -> Tensor:
        out = weights.new_empty(weights.shape[1], rows.shape[1])
        for part, start, stop in zip(weights, edges, edges[1:], strict=False):
            for run in _runs(rows, start, stop):
                torch.mm(part, rows[:, run].to(part.dtype), out=out[:, run])
        ctx.rows, ctx.edges = rows, edges
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient], rows, edges = gradients, ctx.rows, ctx.edges
        back = []
        for start, stop in itertools.pairwise(edges):
            total = gradient.new_zeros(len(gradient), len(rows))
            for run in _runs(rows, start, stop):
                total.addmm_(gradient[:, run], rows[:, run].to(total.dtype).T)
            back.append(total)
        return torch.stack(back), None, None


def _runs(rows: Tensor, start: int, stop: int) -> Iterator[slice]:
    step = max(1, _RUN // max(1, len(rows))) if rows.device.type == "cpu" else max(1, stop - start)
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
