"""A subspace on its PLM: tasks are switched by decoding d numbers, and one batch may have another task for each example."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.deltas.registry import read_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.subspace import Subspace

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone

# Decoded tasks are kept up to so many numbers together: 256 MiB.
_KEPT = 1 << 26


class SubspaceModel:
    """The PLM with any task of a subspace applied, as any of its deltas.

    Args:
        subspace: where the tasks' vectors are.
        backbone: the PLM it was made with.

    Raises:
        DeltaspaceError: the subspace is another model's.

    Example:
        model = SubspaceModel(subspace, load_backbone("demo"))
        model.set_task("sst2", delta="lora")
        model(**inputs)
        model(**inputs, task_ids=["sst2", "trec", "sst2"])
    """

    def __init__(self, subspace: Subspace, backbone: Backbone) -> None:
        if backbone.fingerprint != subspace.plm.fingerprint:
            raise DeltaspaceError(
                "the subspace belongs to another model",
                found=f"{backbone.name}, {backbone.fingerprint[:12]}",
                expected=f"{subspace.plm.name}, {subspace.plm.fingerprint[:12]}",
            )
        self.subspace, self.backbone = subspace.to(backbone.device), backbone
        self.task: str | None = None
        self.delta = next(iter(subspace.entries))
        self._attached: dict[str, AttachedDelta] = {}
        self._flat: dict[str, Tensor] = {}
        self._decoded: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    @property
    def plm(self) -> Any:
        """The model that runs now: the PLM with the current delta."""
        return self.attached(self.delta).model

    def attached(self, delta: str) -> AttachedDelta:
        """One of the subspace's deltas on the PLM; made when first asked for.

        Raises:
            DeltaspaceError: the subspace has no such delta, or does not know its settings.
        """
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

        Raises:
            DeltaspaceError: there is no such task or delta, or the task has several vectors, of which none was found through it.
        """
        delta = delta or self.delta
        self.attached(delta)
        self.delta = delta
        if isinstance(task, str):
            self.task, parameters = task, self.decoded(task)
        else:
            self.task, parameters = None, self.subspace.decode(self.delta, task)
        self._flat[self.delta].copy_(parameters)

    @torch.no_grad()
    def decoded(self, task: str) -> Float[Tensor, " params"]:
        """A task's parameters of the current delta; those used last are kept."""
        key = (task, self.delta)
        if key not in self._decoded:
            through = self.subspace.through(task, self.delta)
            parameters = self.subspace.decode(self.delta, self.subspace.vector(task, through))
            while self._decoded and (len(self._decoded) + 1) * len(parameters) > _KEPT:
                self._decoded.popitem(last=False)
            self._decoded[key] = parameters
        self._decoded.move_to_end(key)
        return self._decoded[key]

    def __call__(self, *, task_ids: Sequence[str] | None = None, **inputs: Any) -> Any:
        """The PLM's forward with the task that is set, or with another task for each example.

        Args:
            task_ids: a task's name for each example.
            inputs: the PLM's; tensors have the examples in their first dimension.

        Raises:
            DeltaspaceError: there are not as many names as examples, or no such task.
        """
        return self._run("__call__", task_ids, inputs)

    def generate(self, *, task_ids: Sequence[str] | None = None, **inputs: Any) -> Any:
        """The PLM's generate; see `__call__`. With several tasks, only greedy search and sampling, one sequence an example."""
        return self._run("generate", task_ids, inputs)

    def _run(self, method: str, task_ids: Sequence[str] | None, inputs: dict[str, Any]) -> Any:
        if task_ids is None:
            with self.backbone.autocast():
                return getattr(self.plm, method)(**inputs)
        size = max((len(value) for value in inputs.values() if isinstance(value, Tensor)), default=0)
        if len(task_ids) != size:
            raise DeltaspaceError("task_ids do not fit the batch", found=f"{len(task_ids)} names", expected=f"{size} examples")
        attached, tasks = self.attached(self.delta), list(dict.fromkeys(task_ids))
        if len(tasks) == 1:
            return attached.call(self.decoded(tasks[0]), lambda model: getattr(model, method)(**inputs))
        if not attached.delta.grouped:
            raise DeltaspaceError(
                f"{self.delta} takes one task at a time",
                expected="adapter, lora, prefix or apet for a batch of several tasks",
                mend="divide the batch by task, or set_task with one of these",
            )
        # One group for each example: any mix of tasks in any order, in one pass.
        vectors = torch.stack([self.decoded(task) for task in task_ids])
        return attached.call(vectors, lambda model: getattr(model, method)(**inputs))
