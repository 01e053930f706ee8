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
from deltaspace.subspace.projections import KINDS, Projection

_FORMAT = "deltaspace.subspace/2"


@dataclass
class Subspace:
    """One low-dimensional space for all deltas of a PLM.

    Args:
        dim: d.
        backbone: fingerprint of the PLM.
        initial: delta -> initial vector, (n_t,).
        projections: delta -> projection.
        sources: names of the source tasks; none where the projections needed no solutions.
        codes: of every delta and source task, (deltas, tasks, d).
        shared: whether a point means the same task for every delta; otherwise each delta has codes of its own.
        history: how it was approximated.
    """

    dim: int
    backbone: str
    initial: dict[str, Float[Tensor, " _"]]
    projections: dict[str, Projection]
    sources: tuple[str, ...]
    codes: Float[Tensor, "deltas tasks dim"]
    shared: bool
    history: dict[str, Any]

    def decode(self, delta: str, vector: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows params"]:
        """Parameters of `delta` at an intrinsic vector, or at several, (rows, d): theta0 + up(I).

        Raises:
            DeltaspaceError: the subspace has no such delta.
        """
        if delta not in self.projections:
            raise DeltaspaceError(f"the subspace has no delta {delta!r}", expected=", ".join(self.projections))
        decoded = self.projections[delta].decode(vector.reshape(-1, vector.shape[-1]))
        return self.initial[delta] + decoded.reshape(*vector.shape[:-1], -1)

    def task_codes(self, delta: str) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes as `delta` sees them: the mean over all deltas where they share them, else its own."""
        return self.codes.mean(0) if self.shared else self.codes[list(self.projections).index(delta)]

    def start(self, delta: str) -> Float[Tensor, " dim"]:
        """The mean of the source tasks' codes; zero where there are none."""
        codes = self.task_codes(delta)
        return codes.mean(0) if len(codes) else codes.new_zeros(self.dim)

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
            projections={name: projection.to(device) for name, projection in self.projections.items()},
            codes=self.codes.to(device),
        )

    def _sizes(self) -> str:
        return ", ".join(f"{name}: {len(vector)} parameters" for name, vector in self.initial.items())

    def save(self, path: Path, metadata: dict[str, Any] | None = None) -> None:
        """Write one safetensors file, atomically."""
        tensors = {"codes": self.codes}
        for name, projection in self.projections.items():
            tensors[f"{name}.initial"] = self.initial[name]
            tensors |= {f"{name}.projection.{key}": tensor for key, tensor in projection.tensors().items()}
        own = {
            "format": _FORMAT,
            "dim": self.dim,
            "backbone": self.backbone,
            "projections": {name: projection.kind for name, projection in self.projections.items()},
            "sources": list(self.sources),
            "shared": self.shared,
            "history": self.history,
        }
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
        projections, initial = {}, {}
        for name, kind in own["projections"].items():
            prefix = f"{name}.projection."
            parts = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            projections[name], initial[name] = KINDS[kind](**parts), tensors[f"{name}.initial"]
        sources = tuple(own["sources"])
        return cls(own["dim"], own["backbone"], initial, projections, sources, tensors["codes"], own["shared"], own["history"])
