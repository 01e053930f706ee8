"""Stage 3, subspace solution transfer: arXiv 2210.13311, section 3. The vector found through one delta is decoded as another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from deltaspace.arguments import check_kind
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.scoring import score
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Split, Task
from deltaspace.training import Score


def transfer(subspace: Subspace, vector: Float[Tensor, " dim"], to: AttachedDelta, task: Task, split: Split = "test") -> Score:
    """Score on `task` of the intrinsic `vector`, found through any delta, decoded as the delta `to`. Nothing is trained.

    Raises:
        DeltaspaceError: `to` is not a delta of the subspace, or the vector has not d finite numbers.

    Example:
        >>> deltas = [attach("adapter", backbone, bottleneck=2), attach("lora", backbone, r=2)]
        >>> subspace = approximate(deltas, [], [], dim=3, projection="gaussian")
        >>> transfer(subspace, subspace.mean_code("lora"), to=deltas[0], task=task).count
        8
    """
    check_kind(subspace, Subspace, "a subspace", "approximate, or Subspace.load")
    check_kind(vector, Tensor, "a vector of the subspace", "optimize(...).vector, or subspace.vector(task, delta)")
    check_kind(to, AttachedDelta, "a delta on a model", "attach('lora', backbone)")
    check_kind(task, Task, "a task", "load_task or make_task")
    subspace.check(to)
    if not bool(vector.isfinite().all()):
        raise DeltaspaceError(f"the vector for {task.name} is not finite", found="NaN or infinity", expected="finite numbers")
    return score(to, task, subspace.decode(to.name, vector), split)
