"""Projections of one delta while they are trained on fixed displacements, and what they are afterwards.

In training the encoder only ever sees the source tasks' displacements D_1 ... D_T, so W1 = A^T (D / units) says all it can say
there: with the Gram matrix K = (D / units) (D / units)^T / n, (T, T), their codes are W2 tanh(K A), and T d numbers are trained
in place of n d. What decodes is a dense U, (d, n); for fine-tuning, whose n is that of the PLM, it is tied to the same codes by

- Fastfood whose diagonal G is learned (arXiv 2210.13311, section 3), n numbers, or
- the span of the fine-tuning displacements, T d numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.lowrank import LowRankGradient, decode_and_compare
from deltaspace.subspace.methods.fastfood import Hadamard, fitted
from deltaspace.subspace.methods.joint import weighted
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.map import Projection, packed, unpacked
from deltaspace.subspace.methods.displacements import Rows

Tie = Literal["fastfood", "span"]
Encoder = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass
class Dense(Projection):
    """Dense autoencoder with tanh in its encoder and a linear decoder.

    Args:
        units: see `Projection`.
        first: W1, (d, n).
        second: W2, (d, d).
        up: U, (d, n).
    """

    kind: ClassVar[str] = "dense"

    units: Float[Tensor, " params"]
    first: Float[Tensor, "dim params"]
    second: Float[Tensor, "dim dim"]
    up: Float[Tensor, "dim params"]

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        return torch.tanh(displacements / self.units @ self.first.T / len(self.units)) @ self.second.T

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return (codes @ self.up) * self.units

    def tensors(self) -> dict[str, Tensor]:
        return {"units": packed(self.units), "first": self.first, "second": self.second, "up": self.up}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Dense:
        return cls(**{**tensors, "units": unpacked(tensors["units"], tensors["up"].shape[1])})


@dataclass
class Trainable:
    """What all of them have.

    Args:
        units: see `Projection`.
        gram: K, (tasks, tasks).
        anchors: A, (tasks, d).
        second: W2, (d, d).
    """

    # Whether the gradient of the last trained tensor comes as factors (`LowRankGradient`).
    factored: ClassVar[bool] = False
    # The field that decodes.
    learned: ClassVar[str]

    units: Float[Tensor, " params"]
    gram: Float[Tensor, "tasks tasks"]
    anchors: Float[Tensor, "tasks dim"]
    second: Float[Tensor, "dim dim"]

    def codes(self) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes."""
        return torch.tanh(self.gram @ self.anchors) @ self.second.T

    def trained(self) -> list[Tensor]:
        """What training changes: A, W2 and what decodes."""
        return [self.anchors, self.second, getattr(self, self.learned)]

    def with_trained(self, tensors: Sequence[Tensor]) -> Trainable:
        """The same with others of these."""
        return replace(self, **dict(zip(("anchors", "second", self.learned), tensors, strict=True)))

    @abstractmethod
    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Displacements at some codes."""

    def decode_and_compare(
        self,
        mixed: Float[Tensor, "k dim"],
        own: Float[Tensor, "k dim"],
        initial: Float[Tensor, " params"],
        displacements: Float[Tensor, "k params"],
        gradient: LowRankGradient,
    ) -> tuple[Float[Tensor, "k params"], Float[Tensor, " k"]]:
        """Parameters at the codes `mixed`, and how far from `displacements` the codes `own` decode, in the units."""
        decoded = self.decode(torch.cat([mixed, own]))
        rest = (displacements - decoded[len(mixed) :]) / self.units
        return initial + decoded[: len(mixed)], torch.linalg.vector_norm(rest, dim=1)

    @abstractmethod
    def fixed(self, displacements: Rows) -> Projection:
        """The projections for any displacement."""


@dataclass
class DenseTrainable(Trainable):
    """A dense up-projection, U: (d, n)."""

    factored: ClassVar[bool] = True
    learned: ClassVar[str] = "up"

    up: Float[Tensor, "dim params"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return codes @ self.up * self.units

    def decode_and_compare(
        self,
        mixed: Float[Tensor, "k dim"],
        own: Float[Tensor, "k dim"],
        initial: Float[Tensor, " params"],
        displacements: Float[Tensor, "k params"],
        gradient: LowRankGradient,
    ) -> tuple[Float[Tensor, "k params"], Float[Tensor, " k"]]:
        return decode_and_compare(mixed, own, self.up, initial, self.units, displacements, gradient)

    def fixed(self, displacements: Rows) -> Dense:
        # W1 = A^T (D / units).
        return Dense(self.units, weighted(displacements, self.units, self.anchors), self.second, self.up)


@dataclass
class FastfoodTrainable(Trainable):
    """Fastfood with a learned diagonal."""

    learned: ClassVar[str] = "normal"

    start: Hadamard
    normal: Float[Tensor, "blocks width"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return replace(self.start, normal=self.normal).decode(codes)

    def fixed(self, displacements: Rows) -> Hadamard:
        return replace(self.start, normal=self.normal)


@dataclass
class SpanTrainable(Trainable):
    """Learned mixtures of the displacements."""

    learned: ClassVar[str] = "mixing"

    span: Mixture
    mixing: Float[Tensor, "segments dim tasks"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return replace(self.span, mixing=self.mixing).decode(codes)

    def fixed(self, displacements: Rows) -> Mixture:
        return replace(self.span, mixing=self.mixing)


def tied(
    tie: Tie, encoder: Encoder, span: Mixture, codes: Tensor | None, displacements: Rows, generator: torch.Generator
) -> Trainable:
    """What ties a delta of the PLM's own size to the codes.

    Args:
        tie: how.
        encoder: units, K, A, W2.
        span: the mixture that decodes at the start.
        codes: the source tasks' codes there, to which Fastfood's diagonal is fitted; without them it is drawn.
        displacements: of the source tasks.
        generator: draws.
    """
    if tie == "span":
        return SpanTrainable(*encoder, span, span.mixing)
    dim = span.mixing.shape[1]
    start = Hadamard.drawn(encoder[0], dim, generator)
    return FastfoodTrainable(*encoder, start, start.normal if codes is None else fitted(start, codes, displacements))
