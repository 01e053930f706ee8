"""The intrinsic vectors of tasks: a table of d numbers a task, in one file, and arithmetic on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted, require_task_name
from deltaspace.storage import checked_text, path_of, read_packed, write_tensors

FORMAT = "deltaspace.vectors/1"


@dataclass(repr=False)
class Vectors:
    """Intrinsic vectors by task and the delta they were found through.

    Args:
        dim: d.
        entries: (task, delta) -> vector, (d,).

    Example:
        >>> vectors = Vectors(2)
        >>> vectors.add("sst2", "lora", torch.tensor([1.0, 0.0]))
        >>> vectors.add("trec", "lora", torch.tensor([0.0, 1.0]))
        >>> vectors.interpolate("sst2", "trec", 0.25)
        tensor([0.7500, 0.2500])
        >>> vectors.nearest(torch.tensor([2.0, 0.1]), count=1)[0][0]
        'sst2'
    """

    dim: int
    entries: dict[tuple[str, str], Float[Tensor, " _"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dim < 0:
            raise DeltaspaceError("vectors have no fewer than 0 numbers", found=f"dim={self.dim}", expected="0 or more")

    def __repr__(self) -> str:
        return f"Vectors(d = {self.dim}, {len(self)} of {counted(len(self.tasks), 'task')})"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.entries)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, each once, in the order in which they came."""
        return list(dict.fromkeys(task for task, _ in self.entries))

    def add(self, task: str, delta: str, vector: Float[Tensor, " _"]) -> None:
        """Take in a vector, in place of an earlier one of this task and delta.

        Raises:
            DeltaspaceError: the task has no name that a folder can have, it has not d numbers, or NaN or infinity among them.
        """
        require_task_name(task, f"no task can be called {task!r}", "choose another name")
        if vector.shape != (self.dim,):
            raise DeltaspaceError(f"the vector of {task} does not fit", found=tuple(vector.shape), expected=(self.dim,))
        if not bool(vector.isfinite().all()):
            raise DeltaspaceError(f"the vector of {task} is not finite", found=vector.tolist(), expected="finite numbers")
        self.entries[task, delta] = vector.detach().float()

    def deltas_of(self, task: str) -> list[str]:
        """Through which deltas the task's vectors were found."""
        return [delta for name, delta in self.entries if name == task]

    def get(self, task: str, delta: str | None = None) -> Float[Tensor, " _"]:
        """The task's vector that was found through `delta`; the only one that the task has where no delta is named.

        Raises:
            DeltaspaceError: there is no such vector, or none is named and the task has several.
        """
        deltas = self.deltas_of(task)
        if not deltas:
            raise DeltaspaceError(f"there is no vector of the task {task!r}", expected=_listed(self.tasks))
        if delta is None and len(deltas) > 1:
            raise DeltaspaceError(
                f"the task {task!r} has several vectors", found="through " + ", ".join(deltas), mend="name one of these deltas"
            )
        if delta is not None and delta not in deltas:
            raise DeltaspaceError(
                f"there is no vector of the task {task!r} found through {delta!r}", expected="through " + ", ".join(deltas)
            )
        return self.entries[task, delta or deltas[0]]

    def padded(self, count: int) -> Vectors:
        """The same vectors with `count` zeros more: what they are in a subspace that has grown by so many dimensions.

        Raises:
            DeltaspaceError: `count` is below 0.
        """
        if count < 0:
            raise DeltaspaceError("vectors only become longer", found=f"count={count}", expected="0 or more")
        return Vectors(self.dim + count, {key: pad(vector, (0, count)) for key, vector in self.entries.items()})

    def mean(self, tasks: Sequence[str], delta: str | None = None) -> Float[Tensor, " _"]:
        """The mean of some tasks' vectors, each as `get` gives it."""
        if not tasks:
            raise DeltaspaceError("a mean of no vectors", expected="at least one task")
        return torch.stack([self.get(task, delta) for task in tasks]).mean(0)

    def interpolate(self, start: str, end: str, share: float, delta: str | None = None) -> Float[Tensor, " _"]:
        """The point that lies `share` of the way from one task's vector to another's; beyond them for shares outside [0, 1].

        Both vectors are as `get` gives them.
        """
        return torch.lerp(self.get(start, delta), self.get(end, delta), share)

    def nearest(self, vector: Float[Tensor, " _"], count: int = 5, delta: str | None = None) -> list[tuple[str, float]]:
        """The tasks whose vectors have the highest cosine with `vector`, with it, the highest first.

        Of tasks that have several vectors, all count, and the nearest says how near the task is; with `delta`, only those that
        were found through it.

        Raises:
            DeltaspaceError: there are vectors, but none found through `delta`; `vector` has not d numbers, or `count` is below 1.
        """
        if vector.shape != (self.dim,) or count < 1:
            found = f"{tuple(vector.shape)}, count={count}"
            raise DeltaspaceError("no such neighbors", found=found, expected=f"a vector ({self.dim},), and a count of 1 or more")
        entries = {key: row for key, row in self.entries.items() if delta in (None, key[1])}
        if self.entries and not entries:
            deltas = dict.fromkeys(delta for _, delta in self.entries)
            raise DeltaspaceError(f"there is no vector found through {delta!r}", expected="through " + ", ".join(deltas))
        if not entries:
            return []
        cosines = cosine_similarity(torch.stack(list(entries.values())), vector.unsqueeze(0).float()).tolist()
        nearest: dict[str, float] = {}
        for (task, _), cosine in zip(entries, cosines, strict=True):
            nearest[task] = max(cosine, nearest.get(task, cosine))
        return sorted(nearest.items(), key=lambda pair: pair[1], reverse=True)[:count]

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically: `vectors`, (N, d), fp32, and the names of its rows in the header."""
        stacked = torch.stack(list(self.entries.values())) if self.entries else torch.zeros(0, self.dim)
        names = [list(key) for key in self.entries]
        write_tensors(path_of(path), {"vectors": stacked.float()}, {"format": FORMAT, "dim": self.dim, "entries": names})

    @classmethod
    def load(cls, path: Path | str) -> Vectors:
        """Read a file of `save`.

        Raises:
            DeltaspaceError: the file is missing, damaged or not one of vectors.
        """

        def unpack(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> Vectors:
            names = [(checked_text(task), checked_text(delta)) for task, delta in metadata["entries"]]
            if not bool(tensors["vectors"].isfinite().all()):
                raise ValueError("a vector that is not finite")
            if metadata["dim"] < 0:
                raise ValueError(f"dim {metadata['dim']}")
            return cls(metadata["dim"], dict(zip(names, tensors["vectors"], strict=True)))

        return read_packed(path_of(path), FORMAT, "has no intrinsic vectors", unpack)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "") if names else "no task at all"
