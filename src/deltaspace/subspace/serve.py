"""A subspace on its PLM: tasks are switched by decoding d numbers, and one batch may have another task for each example.

Tasks come and go while it runs, and any number of threads may use it: one at a time runs the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.deltas.registry import read_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.vectors import Vectors

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone

# Decoded tasks are kept up to so many bytes together.
KEPT_BYTES = 256 << 20


class SubspaceModel:
    """The PLM with any task of a subspace applied, as any of its deltas.

    What `set_task` sets is one for all threads; threads that want different tasks name them with each call, as `task_ids`.

    Args:
        subspace: where the tasks' vectors are; it stays as it is when tasks are added or removed here.
        backbone: the PLM it was made with.
        kept_bytes: decoded tasks that were used last are kept, up to so many bytes together.

    Raises:
        DeltaspaceError: the subspace is another model's, or `kept_bytes` is no whole number from 0.

    Example:
        model = SubspaceModel(subspace, load_backbone("demo"))
        model.set_task("sst2", delta="lora")
        model(**inputs)
        model(**inputs, task_ids=["sst2", "trec", "sst2"])
        model.add("new", "lora", vector)
    """

    def __init__(self, subspace: Subspace, backbone: Backbone, *, kept_bytes: int = KEPT_BYTES) -> None:
        if backbone.fingerprint != subspace.plm.fingerprint:
            raise DeltaspaceError(
                "the subspace belongs to another model",
                found=f"{backbone.name}, {backbone.fingerprint[:12]}",
                expected=f"{subspace.plm.name}, {subspace.plm.fingerprint[:12]}",
            )
        if not isinstance(kept_bytes, int) or isinstance(kept_bytes, bool) or kept_bytes < 0:
            raise DeltaspaceError(
                "kept_bytes is no number of bytes",
                found=repr(kept_bytes)[:80],
                expected="a whole number from 0, such as 256 << 20",
            )
        on_device = subspace.to(backbone.device)
        self.subspace, self.backbone = replace(on_device, vectors=_copied(subspace.vectors)), backbone
        self.task: str | None = None
        self.delta = next(iter(subspace.entries))
        self._kept_bytes = kept_bytes
        # Applying parameters changes modules for the time of a pass: one thread at a time.
        self._lock = threading.RLock()
        self._attached: dict[str, AttachedDelta] = {}
        self._flat: dict[str, Tensor] = {}
        self._decoded: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def __repr__(self) -> str:
        return f"SubspaceModel({self.subspace!r} on {self.backbone!r})"

    @property
    def plm(self) -> Any:
        """The model that runs now: the PLM with the current delta."""
        return self.attached(self.delta).model

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks that there are now."""
        with self._lock:
            return list(dict.fromkeys([*self.subspace.vectors.tasks, *self.subspace.sources]))

    def add(self, task: str, delta: str, vector: Float[Tensor, " dim"]) -> None:
        """Take in a task's vector that was found through a delta, in place of an earlier one: requests that follow see it.

        Raises:
            DeltaspaceError: the subspace has no such delta, or the vector has not d numbers.
        """
        with self._lock:
            self.subspace.entry(delta)
            self.subspace.vectors.add(task, delta, vector)
            self._forget(task)

    def remove(self, task: str, delta: str | None = None) -> None:
        """Take a task out: all of its vectors, or the one that was found through `delta`. A source task keeps its code.

        Raises:
            DeltaspaceError: it has no such vector.
        """
        with self._lock:
            deltas = self.subspace.vectors.deltas_of(task) if delta is None else [delta]
            if not deltas or any((task, name) not in self.subspace.vectors.entries for name in deltas):
                known = ", ".join(self.subspace.vectors.deltas_of(task)) or "no vector"
                raise DeltaspaceError(f"the task {task!r} has no vector to take out", found=known)
            for name in deltas:
                del self.subspace.vectors.entries[task, name]
            self._forget(task)

    def attached(self, delta: str) -> AttachedDelta:
        """One of the subspace's deltas on the PLM; made when first asked for.

        Raises:
            DeltaspaceError: the subspace has no such delta, or does not know its settings.
        """
        with self._lock:
            if delta not in self._attached:
                entry = self.subspace.entry(delta)
                method = read_delta(delta, entry.settings, "the subspace")
                attached = AttachedDelta(method, self.backbone, self.subspace.seed, delta, entry.initial)
                # All of its parameters become views of one vector: setting a task is one copy.
                self._flat[delta] = attached.flat_parameters()
                self._attached[delta] = attached
            return self._attached[delta]

    @torch.no_grad()
    def set_task(self, task: str | Float[Tensor, " dim"], delta: str | None = None) -> None:
        """Apply a task, or any vector of the subspace, as `delta` (by default the one that was used last).

        A task's vector is the one that was found through `delta`, else its only one; any other is `subspace.vector(task, other)`.
        It stays applied as it is when the task is changed or removed.

        Raises:
            DeltaspaceError: there is no such task or delta, or the task has several vectors, of which none was found through it.
        """
        with self._lock:
            delta = delta or self.delta
            self.attached(delta)
            self.delta = delta
            if isinstance(task, str):
                self.task, parameters = task, self.decoded(task)
            else:
                if not bool(task.isfinite().all()):
                    raise DeltaspaceError("the vector is not finite", found="NaN or infinite numbers", mend="tune it again")
                self.task, parameters = None, self.subspace.decode(self.delta, task)
            self._flat[self.delta].copy_(parameters)

    @torch.no_grad()
    def decoded(self, task: str, delta: str | None = None) -> Float[Tensor, " params"]:
        """A task's parameters of a delta, by default the current one; those used last are kept."""
        with self._lock:
            [parameters] = self._decode([task], delta or self.delta)
            return parameters

    def __call__(self, *, task_ids: Sequence[str] | None = None, delta: str | None = None, **inputs: Any) -> Any:
        """The PLM's forward with the task that is set, or with another task for each example.

        Args:
            task_ids: a task's name for each example.
            delta: as which delta these tasks are decoded, for this call alone; the current one by default.
            inputs: the PLM's; tensors have the examples in their first dimension.

        Raises:
            DeltaspaceError: there are not as many names as examples, no examples, no such task, or a delta without tasks.
        """
        return self._run("__call__", task_ids, delta, inputs)

    def generate(self, *, task_ids: Sequence[str] | None = None, delta: str | None = None, **inputs: Any) -> Any:
        """The PLM's generate; see `__call__`. With several tasks, only greedy search and sampling, one sequence an example."""
        return self._run("generate", task_ids, delta, inputs)

    def _run(self, method: str, task_ids: Sequence[str] | None, delta: str | None, inputs: dict[str, Any]) -> Any:
        if task_ids is None:
            if delta is not None:
                raise DeltaspaceError("a delta for one call asks for task_ids", mend="name the tasks, or set_task(task, delta)")
            with self._lock, self.backbone.products.computing():
                return getattr(self.plm, method)(**inputs)
        size = max((len(value) for value in inputs.values() if isinstance(value, Tensor)), default=0)
        if len(task_ids) != size:
            raise DeltaspaceError(
                "task_ids do not fit the batch",
                found=counted(len(task_ids), "name"),
                expected=f"one for each of {counted(size, 'example')}",
            )
        if not size:
            raise DeltaspaceError("a batch of no examples", expected="one at least")
        with self._lock:
            delta = delta or self.delta
            attached, tasks = self.attached(delta), list(dict.fromkeys(task_ids))
            if len(tasks) > 1 and not attached.delta.grouped:
                raise DeltaspaceError(
                    f"{delta} takes one task at a time",
                    expected="adapter, lora, prefix or apet for a batch of several tasks",
                    mend="divide the batch by task, or set_task with one of these",
                )
            decoded = dict(zip(tasks, self._decode(tasks, delta), strict=True))
            # One group for each example: any mix of tasks in any order, in one pass.
            several = len(tasks) > 1
            vectors = torch.stack([decoded[task] for task in task_ids]) if several else decoded[tasks[0]]
            return attached.call(vectors, lambda model: getattr(model, method)(**inputs))

    @torch.no_grad()
    def _decode(self, tasks: Sequence[str], delta: str) -> list[Tensor]:
        """Parameters of some tasks: what is kept, and the rest decoded in one product."""
        missing = [task for task in tasks if (task, delta) not in self._decoded]
        kept = {task: self._decoded[task, delta] for task in tasks if (task, delta) in self._decoded}
        if missing:
            rows = [self.subspace.vector(task, self.subspace.through(task, delta)) for task in missing]
            # Each a tensor of its own: views would keep all of them alive.
            kept |= {task: row.clone() for task, row in zip(missing, self.subspace.decode(delta, torch.stack(rows)), strict=True)}
        for task in tasks:
            self._decoded[task, delta] = kept[task]
            self._decoded.move_to_end((task, delta))
        kept_bytes = self._bytes()
        while len(self._decoded) > 1 and kept_bytes > self._kept_bytes:
            kept_bytes -= self._decoded.popitem(last=False)[1].nbytes
        return [kept[task] for task in tasks]

    def _bytes(self) -> int:
        return sum(parameters.nbytes for parameters in self._decoded.values())

    def _forget(self, task: str) -> None:
        for key in [key for key in self._decoded if key[0] == task]:
            del self._decoded[key]


def _copied(vectors: Vectors) -> Vectors:
    return Vectors(vectors.dim, dict(vectors.entries))
