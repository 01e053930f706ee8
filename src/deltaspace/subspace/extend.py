"""Growing a subspace: new tasks' solutions or a new delta, without touching what the codes already given out decode to.

New tasks: their code in the old dimensions is that of the down-projections; what these leave over, of all deltas together, is
decomposed jointly (as in `projections/joint.py`) into new dimensions. A new delta: its up-projection is the least-squares map
from the source tasks' codes to its displacements; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import Solution
from deltaspace.subspace.methods.joint import basis, gram, shared_codes
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.map import Projection
from deltaspace.subspace.methods.displacements import InMemory
from deltaspace.subspace.maps.stacked import Stacked

if TYPE_CHECKING:
    from deltaspace.subspace.subspace import Subspace


@dataclass(frozen=True)
class Extension:
    """A grown subspace, and what growing brought.

    Args:
        subspace: with the added dimensions behind the old ones, or with the new delta.
        held: share of the new solutions' squared length (each delta in its units) that the old dimensions hold.
        added: of each added dimension, the share that it brings beside that.
    """

    subspace: Subspace
    held: float
    added: tuple[float, ...]


def with_tasks(subspace: Subspace, solutions: Sequence[Solution], most: int | None) -> Extension:
    """Take new tasks' solutions in.

    Args:
        subspace: the old one.
        solutions: of new tasks, one for every delta of the subspace.
        most: largest number of dimensions to add; one for each new task by default.

    Raises:
        DeltaspaceError: a solution is missing, or a task is among the sources already.
    """
    tasks = list(dict.fromkeys(solution.task for solution in solutions))
    if known := sorted(set(tasks) & set(subspace.sources)):
        raise DeltaspaceError(f"the subspace has the source task {known[0]} already", expected="solutions of new tasks")
    found = {(solution.delta, solution.task): solution.displacement for solution in solutions}
    if missing := [(d, t) for d in subspace.projections for t in tasks if (d, t) not in found]:
        raise DeltaspaceError(
            f"no solution of {missing[0][0]} for {missing[0][1]}", expected="one for every delta of the subspace and new task"
        )
    stacks = [torch.stack([found[delta, task] for task in tasks]) for delta in subspace.projections]
    projections = list(subspace.projections.values())
    own = torch.stack([projection.encode(stack) for projection, stack in zip(projections, stacks, strict=True)])
    if subspace.shared:
        own = own.mean(0).expand_as(own)
    units = [projection.units for projection in projections]
    rest = [InMemory(stack - projection.decode(codes)) for projection, stack, codes in zip(projections, stacks, own, strict=True)]
    before = sum(float(gram(InMemory(s), u).trace()) for s, u in zip(stacks, units, strict=True))
    grams = [gram(r, u) for r, u in zip(rest, units, strict=True)]
    left = sum(float(g.trace()) for g in grams)
    count = min(len(tasks), most if most is not None else len(tasks))
    new = shared_codes(grams, count)
    values = torch.linalg.eigvalsh(torch.stack(grams).sum(0)).flip(0)[:count].clamp_min(0)
    grown: dict[str, Projection] = {}
    for name, projection, unit, rows in zip(subspace.projections, projections, units, rest, strict=True):
        # One tensor block: nothing is cut by depth.
        up = basis(rows, unit, new, [1] * count, [len(unit)], count)
        grown[name] = Stacked(projection, Linear(unit.clone(), up), subspace.dim)
    codes = torch.cat([pad(subspace.codes, (0, count)), torch.cat([own, new.expand(len(own), -1, -1)], dim=2)], dim=1)
    after = replace(
        subspace,
        dim=subspace.dim + count,
        projections=grown,
        sources=(*subspace.sources, *tasks),
        codes=codes,
        vectors=subspace.vectors.padded(count),
    )
    return Extension(after, 1 - left / before, tuple((values / before).tolist()))


def with_delta(subspace: Subspace, attached: AttachedDelta, solutions: Sequence[Solution]) -> Extension:
    """Take a new delta in.

    Args:
        subspace: the old one.
        attached: the new delta, on the same PLM.
        solutions: of the new delta, for source tasks of the subspace.

    Raises:
        DeltaspaceError: there is no solution, one is of a task without a code, or the PLM is another.
    """
    if attached.backbone.fingerprint != subspace.backbone:
        raise DeltaspaceError("the new delta is on another model", found=attached.backbone.name, expected=subspace.model)
    found = {solution.task: solution.displacement for solution in solutions if solution.delta == attached.name}
    if not found or not set(found) <= set(subspace.sources):
        raise DeltaspaceError(
            f"{attached.name} cannot be taken in",
            found=", ".join(sorted(set(found) - set(subspace.sources))) or "no solution",
            expected="its solutions for source tasks of the subspace: " + ", ".join(subspace.sources),
            mend="take new tasks in first, with the solutions of the other deltas",
        )
    codes = subspace.codes.mean(0)[[subspace.sources.index(task) for task in found]]
    stack = torch.stack(list(found.values()))
    solved: Float[Tensor, "dim tasks"] = torch.linalg.pinv(codes.double()).to(stack)
    projection: Projection
    if attached.delta.large:
        edges = torch.tensor([0, stack.shape[1]], device=stack.device)
        projection = Mixture(edges, solved.unsqueeze(0), stack.bfloat16())
    else:
        size = stack.shape[1]
        units = (stack.norm(dim=1).mean() / size**0.5).repeat(size)
        projection = Linear(units, solved @ (stack / units))
    left = (stack - projection.decode(codes)).square().sum() / stack.square().sum()
    own = subspace.codes.mean(0, keepdim=True)
    after = replace(
        subspace,
        initial={**subspace.initial, attached.name: attached.initial},
        projections={**subspace.projections, attached.name: projection},
        codes=torch.cat([subspace.codes, own]),
        deltas={**subspace.deltas, attached.name: attached.settings()},
    )
    return Extension(after, 1 - float(left), ())
