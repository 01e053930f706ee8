"""The subspace as data: for every delta where it starts and what maps it, and the codes of the source tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.storage import checked_text, path_of, read_packed, write_tensors
from deltaspace.subspace.kept import Kept
from deltaspace.subspace.maps import MAPS, Map
from deltaspace.subspace.vectors import Vectors

FORMAT = "deltaspace.subspace/1"


@dataclass(frozen=True)
class Plm:
    """Which PLM a subspace is of.

    Args:
        name: as the user asked for it.
        fingerprint: SHA-256 over its files.
        family: how it reads a task; a name of `deltaspace.families.FAMILIES`.
    """

    name: str
    fingerprint: str
    family: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Plm:
        """The PLM that a file names. TypeError where it says something else."""
        return cls(**{key: checked_text(value) for key, value in said.items()})


@dataclass(frozen=True, repr=False)
class Entry:
    """One delta of a subspace: its parameters at an intrinsic vector I are initial + offset + up(I).

    Args:
        initial: theta0, (n,).
        map: what decodes and encodes.
        settings: what `deltaspace.deltas.make_delta` makes the delta from.
        offset: a displacement that is there at every vector, (n,); None is zero.
    """

    initial: Float[Tensor, " params"]
    map: Map
    settings: dict[str, Any] = field(default_factory=dict)
    offset: Float[Tensor, " params"] | None = None

    def __repr__(self) -> str:
        return f"Entry({len(self.initial):,} parameters, {self.map.kind}{'' if self.offset is None else ', offset'})"

    @property
    def origin(self) -> Float[Tensor, " params"]:
        """The parameters at the vector 0: initial + offset, (n,)."""
        return self.initial if self.offset is None else self.initial + self.offset

    def decode(self, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Parameters at intrinsic vectors."""
        return self.origin + self.map.decode(vectors)

    def displace(self, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows params"]:
        """Displacements from theta0 at intrinsic vectors: offset + up(I)."""
        decoded = self.map.decode(vectors)
        return decoded if self.offset is None else decoded + self.offset

    def encode(self, displacements: Float[Tensor, "rows params"]) -> Float[Tensor, "rows dim"]:
        """Intrinsic vectors of displacements from theta0.

        Raises:
            DeltaspaceError: a displacement has not n numbers.
        """
        if displacements.shape[-1] != len(self.initial):
            raise DeltaspaceError(
                "a displacement does not fit", found=tuple(displacements.shape), expected=f"n = {len(self.initial)}"
            )
        return self.map.encode(displacements if self.offset is None else displacements - self.offset)

    def to(self, device: torch.device | str) -> Entry:
        """The same on a device."""
        offset = None if self.offset is None else self.offset.to(device)
        return replace(self, initial=self.initial.to(device), map=self.map.to(device), offset=offset)


@dataclass(repr=False)
class Subspace:
    """One low-dimensional space for all deltas of a PLM.

    Args:
        dim: d.
        plm: which PLM.
        entries: delta -> where it starts and what maps it.
        sources: names of the source tasks; none where the maps needed no solutions.
        codes: of every delta and source task, (deltas, tasks, d).
        shared: whether all deltas have the same code for a task; otherwise the codes of two deltas have nothing in common.
        seed: from which everything was drawn that a delta does not train.
        history: how it was approximated.
        vectors: of tasks that were tuned in it.
        kept: what it keeps of its source solutions, where that was measured.
    """

    dim: int
    plm: Plm
    entries: dict[str, Entry]
    sources: tuple[str, ...]
    codes: Float[Tensor, "deltas tasks dim"]
    shared: bool = True
    seed: int = 0
    history: dict[str, Any] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=lambda: Vectors(0))
    kept: tuple[Kept, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.vectors):
            self.vectors = Vectors(self.dim)

    def __repr__(self) -> str:
        counts = f"{counted(len(self.sources), 'source task')}, {counted(len(self.vectors), 'vector')}"
        return f"Subspace(d = {self.dim} of {self.plm.name!r}: {', '.join(self.entries)}; {counts})"

    @property
    def deltas(self) -> tuple[str, ...]:
        """Names of the deltas."""
        return tuple(self.entries)

    def entry(self, delta: str) -> Entry:
        """One delta's part.

        Raises:
            DeltaspaceError: the subspace has no such delta.
        """
        if delta not in self.entries:
            raise DeltaspaceError(f"the subspace has no delta {delta!r}", expected=", ".join(self.entries))
        return self.entries[delta]

    def decode(self, delta: str, vector: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows params"]:
        """Parameters of `delta` at an intrinsic vector, or at several, (rows, d).

        Raises:
            DeltaspaceError: the subspace has no such delta, or a vector has not d numbers.
        """
        if vector.shape[-1:] != (self.dim,):
            raise DeltaspaceError("a vector of the subspace does not fit", found=tuple(vector.shape), expected=f"({self.dim},)")
        decoded = self.entry(delta).decode(vector.reshape(-1, vector.shape[-1]))
        return decoded.reshape(*vector.shape[:-1], -1)

    def codes_of(self, delta: str) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes as `delta` sees them: the mean over all deltas where they share them, else its own."""
        return self.codes.mean(0) if self.shared else self.codes[self.deltas.index(delta)]

    def shared_codes(self) -> Float[Tensor, "tasks dim"]:
        """The source tasks' codes, the same for all deltas.

        Raises:
            DeltaspaceError: every delta has codes of its own.
        """
        if not self.shared and len(self.entries) > 1:
            raise DeltaspaceError(
                "the deltas of this subspace share no codes",
                found="a projection that gives each delta codes of its own, such as autoencoder",
                expected="a projection with shared codes, such as svd or dense",
            )
        return self.codes.mean(0)

    def mean_code(self, delta: str) -> Float[Tensor, " dim"]:
        """The mean of the source tasks' codes as `delta` sees them; zero where there are none."""
        codes = self.codes_of(delta)
        return codes.mean(0) if len(codes) else codes.new_zeros(self.dim)

    def vector(self, task: str, delta: str | None = None) -> Float[Tensor, " dim"]:
        """A task's intrinsic vector: the one tuned through `delta`, the only one where none is named; of a source task, which
        has none, the code, as `delta` sees it.

        Raises:
            DeltaspaceError: there is no such task, delta or vector, or none is named where there are several.
        """
        if task in self.vectors.tasks:
            return self.vectors.get(task, delta).to(self.codes.device)
        if task in self.sources:
            codes = self.shared_codes() if delta is None else self.codes_of(self._known(delta))
            return codes[self.sources.index(task)]
        raise DeltaspaceError(f"the subspace has no task {task!r}", expected=", ".join([*self.vectors.tasks, *self.sources]))

    def through(self, task: str, delta: str) -> str:
        """Whose vector of a task `delta` decodes where none is named: its own; else the only one that the task has.

        Raises:
            DeltaspaceError: `delta` is not in the subspace, or the task has vectors through several others.
        """
        deltas = self.vectors.deltas_of(task)
        if self._known(delta) in deltas or not deltas:
            return delta
        if len(deltas) > 1:
            raise DeltaspaceError(
                f"no vector of {task} was found through {delta}",
                found="through " + ", ".join(deltas),
                mend="name one of these",
            )
        return deltas[0]

    def _known(self, delta: str) -> str:
        self.entry(delta)
        return delta

    def check(self, attached: AttachedDelta) -> None:
        """Raise DeltaspaceError unless `attached` is a delta of this subspace, on the same PLM, with the same initial vector."""
        name = attached.name
        if attached.backbone.fingerprint != self.plm.fingerprint:
            raise DeltaspaceError(
                "the subspace belongs to another model",
                found=attached.backbone.fingerprint[:12],
                expected=self.plm.fingerprint[:12],
                mend="load the model that the subspace was approximated with",
            )
        if name not in self.entries or self.entries[name].initial.shape != attached.initial.shape:
            sizes = ", ".join(f"{known}: {len(entry.initial)} parameters" for known, entry in self.entries.items())
            raise DeltaspaceError(f"the subspace has no such {name}", found=attached.layout.size, expected=sizes)
        if not self.entries[name].initial.equal(attached.initial):
            raise DeltaspaceError(
                f"{name} does not start where the subspace's {name} does",
                found=f"an initial vector drawn from seed {attached.seed}",
                mend="attach it with the seed of the subspace's study",
            )

    def to(self, device: torch.device | str) -> Subspace:
        """The same subspace on a device."""
        entries = {name: entry.to(device) for name, entry in self.entries.items()}
        return replace(self, entries=entries, codes=self.codes.to(device))

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and metadata that make this subspace, but for its vectors (docs/format.md)."""
        tensors = {"codes": self.codes}
        for name, entry in self.entries.items():
            tensors[f"{name}.initial"] = entry.initial
            if entry.offset is not None:
                tensors[f"{name}.offset"] = entry.offset
            tensors |= {f"{name}.map.{key}": tensor for key, tensor in entry.map.tensors().items()}
        metadata = {
            "format": FORMAT,
            "dim": self.dim,
            "plm": {"name": self.plm.name, "fingerprint": self.plm.fingerprint, "family": self.plm.family},
            "deltas": {name: {"map": entry.map.kind, "settings": entry.settings} for name, entry in self.entries.items()},
            "sources": list(self.sources),
            "shared": self.shared,
            "seed": self.seed,
            "history": self.history,
        }
        return tensors, metadata

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Subspace:
        """The subspace that `pack` was called on."""
        entries: dict[str, Entry] = {}
        for name, described in metadata["deltas"].items():
            prefix = f"{name}.map."
            parts = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            decoded = MAPS.find(described["map"]).of(parts)
            entries[name] = Entry(tensors[f"{name}.initial"], decoded, described["settings"], tensors.get(f"{name}.offset"))
        dim, sources, codes = metadata["dim"], tuple(map(checked_text, metadata["sources"])), tensors["codes"]
        if codes.shape != (shape := (len(entries), len(sources), dim)):
            raise ValueError(f"codes of the shape {tuple(codes.shape)}, not {shape}")
        return cls(
            dim,
            Plm.of(metadata["plm"]),
            entries,
            sources,
            codes,
            metadata["shared"],
            metadata["seed"],
            metadata["history"],
        )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically, without the vectors."""
        write_tensors(path_of(path), *self.pack())

    @classmethod
    def load(cls, path: Path | str) -> Subspace:
        """Read a file of `save`.

        Raises:
            DeltaspaceError: the file is missing, damaged or not a subspace.
        """
        return read_packed(path_of(path), FORMAT, "is not a subspace", cls.unpack)
