"""The paper's projections (arXiv 2210.13311, section 3), where they start, and how they are trained.

    down: I = W2 tanh(W1 (D / units) / n),    up: D = units * (I U)

W1: (d, n), W2: (d, d), U: (d, n), without biases. `trainable.py` has the form in which they are trained,
`objectives/interpolated.py` what they are trained for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from deltaspace.subspace.fitting.displacements import stacked
from deltaspace.subspace.fitting.joint import gram
from deltaspace.subspace.fitting.method import Fitted, Problem, ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.fitting.trainable import Encoder, Tie, Trainable
from deltaspace.subspace.joint_training import train_jointly
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.methods.registry import PROJECTIONS
from deltaspace.subspace.methods.svd import decompose
from deltaspace.subspace.objectives.interpolated import Interpolated
from deltaspace.training import NO_RESUME, Resume

# The start's codes go through tanh at this share of its range, where it is neither flat nor saturated.
_TANH_SHARE = 0.7
# arXiv 2210.13311, appendix: the projections are drawn from N(0, 0.02).
_DEVIATION = 0.02


@PROJECTIONS.register
class DenseAutoencoder(ProjectionMethod):
    """Trained with the task loss of every delta at one shared, interpolated code, and the reconstruction."""

    name: ClassVar[str] = "dense"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = (
        "the paper's: dense encoder with tanh, dense linear decoder, trained with task loss and reconstruction"
    )
    trained: ClassVar[bool] = True

    tie: Tie = Field(
        default="fastfood", description="of fine-tuning: a Fastfood transform whose diagonal is trained, or the solutions' span"
    )
    start: Literal["svd", "random"] = Field(
        default="svd", description="where training starts: the joint SVD, or drawn as in the paper"
    )

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        started = self.trainables(sources, dim, seed)
        return [trainable.fixed(source.displacements) for trainable, source in zip(started, sources, strict=True)]

    def fit(self, problem: Problem, drawn: int, resume: Resume = NO_RESUME) -> Fitted:
        start = self.trainables(problem.sources, problem.dim, drawn)
        return train_jointly(problem, start, [Interpolated(problem, self.shared)], self.shared, resume)

    def trainables(self, sources: Sequence[Source], dim: int, seed: int) -> list[Trainable]:
        """As `make`, in the form that is trained."""
        generator = torch.Generator().manual_seed(seed)
        if self.start == "random":
            return [self._drawn(source, dim, generator) for source in sources]
        started: list[Trainable] = []
        for source, (decoded, codes) in zip(sources, self._decomposed(sources, dim), strict=True):
            units = self.units(source) if source.large else decoded.units
            products = gram(source.displacements, units)
            # The least-norm W1 that takes each task's displacement to its code.
            anchors = (torch.linalg.pinv(products, hermitian=True) @ torch.atanh(_TANH_SHARE * codes.double())).to(codes)
            encoder = Encoder(units, products.to(codes), anchors, torch.eye(dim).to(codes) / _TANH_SHARE)
            if isinstance(decoded, Mixture):
                started.append(encoder.tied(self.tie, decoded, codes, source.displacements, generator))
                continue
            assert isinstance(decoded, Linear)
            # Dimensions that the solutions leave empty are drawn: at zero they would get no gradient.
            up = decoded.up
            for row in torch.nonzero(~up.any(1)).flatten():
                up[row] = torch.randn(up.shape[1], generator=generator).to(up)
            started.append(encoder.dense(up))
        return started

    def _decomposed(self, sources: Sequence[Source], dim: int) -> list[tuple[Map, Tensor]]:
        """Of every delta the map that training starts from, with the source tasks' codes, (tasks, d)."""
        maps, codes = decompose(self, sources, dim)
        return [(decoded, codes) for decoded in maps]

    def _drawn(self, source: Source, dim: int, generator: torch.Generator) -> Trainable:
        displacements = source.displacements

        def draw(*shape: int) -> Tensor:
            return (_DEVIATION * torch.randn(*shape, generator=generator)).to(displacements.device)

        units = self.units(source)
        encoder = Encoder(units, gram(displacements, units).float(), draw(source.tasks, dim), draw(dim, dim))
        # Entries of U are of order one in our units; the paper's deviation is kept relative to that.
        if not source.large:
            return encoder.dense(draw(dim, source.size) / _DEVIATION)
        edges = torch.tensor([0, source.size], device=units.device)
        span = Mixture(edges, draw(1, dim, source.tasks) / _DEVIATION, stacked(displacements))
        return encoder.tied(self.tie, span, None, displacements, generator)
