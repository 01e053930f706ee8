"""The subspace: for every delta its initial vector and projection, and the codes of the source tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.files import read_tensors, write_tensors
from deltaspace.subspace.projection import Dense

_FORMAT = "deltaspace.subspace/1"


@dataclass
class Subspace:
    """One low-dimensional space for all deltas of a PLM.

    Args:
        dim: d.
        backbone: fingerprint of the PLM.
        initial: delta -> initial vector, (n_t,).
        projections: delta -> projection.
        start: where optimization starts: the mean of the source tasks' codes over tasks and deltas, (d,).
        history: how it was approximated.
    """

    dim: int
    backbone: str
    initial: dict[str, Float[Tensor, " _"]]
    projections: dict[str, Dense]
    start: Float[Tensor, " dim"]
    history: dict[str, Any]

    def decode(self, delta: str, vector: Float[Tensor, " dim"]) -> Float[Tensor, " params"]:
        """Parameters of `delta` at an intrinsic vector: theta0 + up(I).

        Raises:
            DeltaspaceError: the subspace has no such delta.
        """
        if delta not in self.projections:
            raise DeltaspaceError(f"the subspace has no delta {delta!r}", expected=", ".join(self.projections))
        return self.initial[delta] + self.projections[delta].decode(vector.unsqueeze(0)).squeeze(0)

    def check(self, attached: AttachedDelta) -> None:
        """Raise DeltaspaceError unless `attached` is a delta of this subspace, on the same PLM, with the same initial vector."""
        name = attached.name
        if attached.backbone.fingerprint != self.backbone:
            raise DeltaspaceError(
                "the subspace belongs to another model",
                found=attached.backbone.fingerprint[:12],
                expected=self.backbone[:12],
                mend="load the model that the subspace was approximated with",
            )
        if name not in self.initial or self.initial[name].shape != attached.initial.shape:
            raise DeltaspaceError(f"the subspace has no such {name}", found=attached.layout.size, expected=self._sizes())
        if not self.initial[name].equal(attached.initial):
            raise DeltaspaceError(
                f"{name} does not start where the subspace's {name} does",
                found=f"an initial vector drawn from seed {attached.seed}",
                mend="attach it with the seed of the subspace's study",
            )

    def to(self, device: torch.device | str) -> Subspace:
        """The same subspace on a device."""
        return replace(
            self,
            initial={name: vector.to(device) for name, vector in self.initial.items()},
            projections={
                name: projection.with_tensors([tensor.to(device) for tensor in projection.tensors()])
                for name, projection in self.projections.items()
            },
            start=self.start.to(device),
        )

    def _sizes(self) -> str:
        return ", ".join(f"{name}: {len(vector)} parameters" for name, vector in self.initial.items())

    def save(self, path: Path, metadata: dict[str, Any] | None = None) -> None:
        """Write one safetensors file, atomically."""
        tensors = {"start": self.start}
        for name, projection in self.projections.items():
            tensors |= {f"{name}.initial": self.initial[name], f"{name}.up": projection.up}
            tensors |= {f"{name}.down.first": projection.first, f"{name}.down.second": projection.second}
        scales = {name: projection.scale for name, projection in self.projections.items()}
        own = {"format": _FORMAT, "dim": self.dim, "backbone": self.backbone, "scales": scales, "history": self.history}
        write_tensors(path, tensors, {**(metadata or {}), **own})

    @classmethod
    def load(cls, path: Path) -> Subspace:
        """Read a file of `save`.

        Raises:
            DeltaspaceError: the file is missing, damaged or not a subspace.
        """
        tensors, own = read_tensors(path)
        if own.get("format") != _FORMAT:
            raise DeltaspaceError(f"{path} is not a subspace", found=own.get("format"), expected=_FORMAT)
        projections = {
            name: Dense(tensors[f"{name}.down.first"], tensors[f"{name}.down.second"], tensors[f"{name}.up"], own["scales"][name])
            for name in own["scales"]
        }
        initial = {name: tensors[f"{name}.initial"] for name in projections}
        return cls(own["dim"], own["backbone"], initial, projections, tensors["start"], own["history"])
