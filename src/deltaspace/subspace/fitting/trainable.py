"""Maps of one delta while they are trained on fixed displacements, and what they are afterwards.

In training the encoder only ever sees the source tasks' displacements D_1 ... D_T, so W1 = A^T (D / units) says all it can say
there: with the Gram matrix K = (D / units) (D / units)^T / n, (T, T), their codes are W2 tanh(K A), and T d numbers are trained
in place of n d. What decodes is a dense U, (d, n); for fine-tuning, whose n is that of the PLM, it is tied to the same codes by

- Fastfood whose diagonal G is trained (arXiv 2210.13311, section 3), n numbers, or
- the span of the fine-tuning displacements, T d numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.fitting.diagonal import fitted_diagonal
from deltaspace.subspace.fitting.displacements import Displacements
from deltaspace.subspace.fitting.joint import weighted
from deltaspace.subspace.fitting.lowrank import LowRankGradient, decode_and_compare
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.dense import Dense
from deltaspace.subspace.maps.hadamard import Hadamard
from deltaspace.subspace.maps.mixture import Mixture

Tie = Literal["fastfood", "span"]


@dataclass
class Trainable(ABC):
    """The map of one delta in training. A subclass names the fields that are trained.

    Args:
        units: see `Map`.
    """

    # Fields that are trained, in the order in which an optimizer has them.
    fields_trained: ClassVar[tuple[str, ...]]

    units: Float[Tensor, " params"]

    def __init_subclass__(cls) -> None:
        declared = {name for base in cls.__mro__ for name in getattr(base, "__annotations__", {})}
        if unknown := set(getattr(cls, "fields_trained", ())) - declared:
            raise TypeError(f"{cls.__name__} trains what is no field of it: {', '.join(sorted(unknown))}")

    @abstractmethod
    def codes(self) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes."""

    def trained(self) -> dict[str, Tensor]:
        """What training changes, by the field's name."""
        return {name: getattr(self, name) for name in self.fields_trained}

    def with_trained(self, tensors: Mapping[str, Tensor]) -> Trainable:
        """The same with other values of the fields of `trained`."""
        if tensors.keys() != self.trained().keys():
            raise ValueError(f"{type(self).__name__} trains {list(self.trained())}, not {list(tensors)}")
        return replace(self, **tensors)

    def factors(self) -> dict[str, LowRankGradient]:
        """Of which trained fields the gradient comes as factors, and where these are put."""
        return {}

    @abstractmethod
    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Displacements at some codes, the offset included."""

    def decode_and_compare(
        self,
        mixed: Float[Tensor, "m dim"],
        codes: Float[Tensor, "k dim"],
        initial: Float[Tensor, " params"],
        displacements: Float[Tensor, "k params"],
    ) -> tuple[Float[Tensor, "m params"], Float[Tensor, " k"]]:
        """Parameters at the codes `mixed`, and how far from `displacements` the tasks' `codes` decode, in the units."""
        decoded = self.decode(torch.cat([mixed, codes]))
        rest = (displacements - decoded[len(mixed) :]) / self.units
        return initial + decoded[: len(mixed)], torch.linalg.vector_norm(rest, dim=1)

    def displacement_at_zero(self) -> Float[Tensor, " params"] | None:
        """The offset, (n,): what is decoded at code 0; None for none."""
        return None

    @abstractmethod
    def fixed(self, displacements: Displacements) -> Map:
        """The map for any displacement, without the offset."""


@dataclass
class Autoencoder(Trainable):
    """A trained encoder; a subclass adds what decodes, as the last of its trained fields.

    Args:
        units: see `Map`.
        gram: K, (tasks, tasks).
        anchors: A, (tasks, d).
        second: W2, (d, d).
    """

    gram: Float[Tensor, "tasks tasks"]
    anchors: Float[Tensor, "tasks dim"]
    second: Float[Tensor, "dim dim"]

    def codes(self) -> Float[Tensor, "tasks dim"]:
        return torch.tanh(self.gram @ self.anchors) @ self.second.T


@dataclass
class DenseTrainable(Autoencoder):
    """A dense up-projection, U: (d, n), whose gradient comes as factors."""

    fields_trained: ClassVar[tuple[str, ...]] = ("anchors", "second", "up")

    up: Float[Tensor, "dim params"]
    gradient: LowRankGradient = field(default_factory=LowRankGradient)

    def factors(self) -> dict[str, LowRankGradient]:
        return {"up": self.gradient}

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return codes @ self.up * self.units

    def decode_and_compare(
        self,
        mixed: Float[Tensor, "m dim"],
        codes: Float[Tensor, "k dim"],
        initial: Float[Tensor, " params"],
        displacements: Float[Tensor, "k params"],
    ) -> tuple[Float[Tensor, "m params"], Float[Tensor, " k"]]:
        return decode_and_compare(mixed, codes, self.up, initial, self.units, displacements, self.gradient)

    def fixed(self, displacements: Displacements) -> Dense:
        # W1 = A^T (D / units).
        return Dense(self.units, weighted(displacements, self.units, self.anchors), self.second, self.up)


@dataclass
class FastfoodTrainable(Autoencoder):
    """Fastfood with a trained diagonal."""

    fields_trained: ClassVar[tuple[str, ...]] = ("anchors", "second", "normal")

    start: Hadamard
    normal: Float[Tensor, "blocks width"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return replace(self.start, normal=self.normal).decode(codes)

    def fixed(self, displacements: Displacements) -> Hadamard:
        return replace(self.start, normal=self.normal)


@dataclass
class SpanTrainable(Autoencoder):
    """Trained mixtures of the displacements."""

    fields_trained: ClassVar[tuple[str, ...]] = ("anchors", "second", "mixing")

    span: Mixture
    mixing: Float[Tensor, "segments dim tasks"]

    def decode(self, codes: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        return replace(self.span, mixing=self.mixing).decode(codes)

    def fixed(self, displacements: Displacements) -> Mixture:
        return replace(self.span, mixing=self.mixing)


@dataclass(frozen=True)
class Encoder:
    """Where the encoder of an `Autoencoder` starts; see there for the fields."""

    units: Float[Tensor, " params"]
    gram: Float[Tensor, "tasks tasks"]
    anchors: Float[Tensor, "tasks dim"]
    second: Float[Tensor, "dim dim"]

    def dense(self, up: Float[Tensor, "dim params"]) -> DenseTrainable:
        """With a dense up-projection."""
        return DenseTrainable(self.units, self.gram, self.anchors, self.second, up)

    def tied(
        self,
        tie: Tie,
        span: Mixture,
        codes: Float[Tensor, "tasks dim"] | None,
        displacements: Displacements,
        generator: torch.Generator,
    ) -> Trainable:
        """With what ties a delta of the PLM's own size to the codes.

        Args:
            tie: how.
            span: the mixture that decodes at the start.
            codes: the source tasks' codes there, to which Fastfood's diagonal is fitted; without them it is drawn.
            displacements: of the source tasks.
            generator: draws.
        """
        if tie == "span":
            return SpanTrainable(self.units, self.gram, self.anchors, self.second, span, span.mixing)
        start = Hadamard.drawn(self.units, span.mixing.shape[1], generator)
        normal = start.normal if codes is None else fitted_diagonal(start, codes, displacements)
        return FastfoodTrainable(self.units, self.gram, self.anchors, self.second, start, normal)
