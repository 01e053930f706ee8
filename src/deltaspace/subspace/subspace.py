"""The subspace: for every delta its initial vector and projection, and the codes of the source tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.storage import push_to_hub
from deltaspace.solutions import Solution
from deltaspace.subspace import pretrained
from deltaspace.subspace.extend import Extension, with_delta, with_tasks
from deltaspace.subspace.methods import KINDS, Projection
from deltaspace.subspace.vectors import Vectors, check_version

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.subspace.serve import SubspaceModel

FORMAT = "deltaspace.subspace/3"


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
        model: the PLM's name.
        deltas: delta -> settings that `make_delta` takes.
        seed: from which everything was drawn that a delta does not train.
        family: the PLM's.
        vectors: of tasks that were tuned in it.
    """

    dim: int
    backbone: str
    initial: dict[str, Float[Tensor, " _"]]
    projections: dict[str, Projection]
    sources: tuple[str, ...]
    codes: Float[Tensor, "deltas tasks dim"]
    shared: bool
    history: dict[str, Any]
    model: str = ""
    deltas: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 0
    family: str = ""
    vectors: Vectors = field(default_factory=lambda: Vectors(0))

    def __post_init__(self) -> None:
        if not len(self.vectors):
            self.vectors = Vectors(self.dim)

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

    def vector(self, task: str, delta: str | None = None) -> Float[Tensor, " dim"]:
        """A task's intrinsic vector: tuned through `delta` if there is one, else tuned through any; a source task's code.

        Raises:
            DeltaspaceError: there is no such task.
        """
        if task in self.vectors.tasks:
            return self.vectors.get(task, delta).to(self.codes.device)
        if task in self.sources:
            return self.task_codes(delta or next(iter(self.projections)))[self.sources.index(task)]
        raise DeltaspaceError(f"the subspace has no task {task!r}", expected=", ".join([*self.vectors.tasks, *self.sources]))

    def extend(self, solutions: Sequence[Solution], attached: AttachedDelta | None = None, most: int | None = None) -> Extension:
        """Take in new tasks' solutions, or a new delta; every vector given out decodes to the same parameters as before.

        Args:
            solutions: of new tasks, one for every delta; or of the new delta, for source tasks.
            attached: the new delta.
            most: largest number of dimensions to add for new tasks; one for each by default.

        Returns:
            The grown subspace, and how much the old dimensions hold and each added one brings. Vectors from before get zeros
            behind them (`Vectors.padded`).

        Raises:
            DeltaspaceError: a solution is missing or one too many, or the new delta is on another PLM.
        """
        return with_tasks(self, solutions, most) if attached is None else with_delta(self, attached, solutions)

    def attach(self, backbone: Backbone) -> SubspaceModel:
        """The PLM with any task of this subspace; see `SubspaceModel`."""
        from deltaspace.subspace.serve import SubspaceModel

        return SubspaceModel(self, backbone)

    def save_pretrained(self, folder: Path | str) -> Path:
        """Write the subspace with all its vectors as a folder (docs/format.md)."""
        return pretrained.save_pretrained(self, Path(folder))

    @staticmethod
    def from_pretrained(name: Path | str) -> Subspace:
        """Read a folder of `save_pretrained`, or one on the Hugging Face Hub.

        Raises:
            DeltaspaceError: there is no such folder, it is damaged, or a newer version wrote it.
        """
        return pretrained.from_pretrained(name)

    def push_to_hub(self, repo: str, *, private: bool = False) -> str:
        """Put the subspace on the Hub; returns the commit's address. Raises as `deltaspace.storage.push_to_hub`."""
        with TemporaryDirectory() as folder:
            return push_to_hub(self.save_pretrained(folder), repo, private=private)

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
            "format": FORMAT,
            "dim": self.dim,
            "backbone": self.backbone,
            "projections": {name: projection.kind for name, projection in self.projections.items()},
            "sources": list(self.sources),
            "shared": self.shared,
            "history": self.history,
            "model": self.model,
            "deltas": self.deltas,
            "seed": self.seed,
            "family": self.family,
        }
        write_tensors(path, tensors, {**(metadata or {}), **own})

    @classmethod
    def load(cls, path: Path) -> Subspace:
        """Read a file of `save`.

        Raises:
            DeltaspaceError: the file is missing, damaged or not a subspace.
        """
        tensors, own = read_tensors(path)
        if str(own.get("format")).split("/")[0] != FORMAT.split("/")[0]:
            raise DeltaspaceError(f"{path} is not a subspace", found=own.get("format"), expected=FORMAT)
        check_version(path, own["format"], FORMAT)
        projections, initial = {}, {}
        for name, kind in own["projections"].items():
            prefix = f"{name}.projection."
            parts = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            projections[name], initial[name] = KINDS[kind].of(parts), tensors[f"{name}.initial"]
        # Format 2 had none of the last four.
        return cls(
            own["dim"],
            own["backbone"],
            initial,
            projections,
            tuple(own["sources"]),
            tensors["codes"],
            own["shared"],
            own["history"],
            own.get("model", ""),
            own.get("deltas", {}),
            own.get("seed", 0),
            own.get("family", ""),
        )
