"""Growing a subspace: new tasks' solutions or a new delta, without touching what the codes already given out decode to.

New tasks: their code in the old dimensions is that of the down-projections; what these leave over, of all deltas together, is
decomposed jointly (as in `fitting/joint.py`) into new dimensions. A new delta: its up-projection is the least-squares map
from the source tasks' codes to its displacements; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import Solution
from deltaspace.subspace.fitting.displacements import InMemory
from deltaspace.subspace.fitting.joint import basis, gram, shared_codes
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.stacked import Stacked
from deltaspace.subspace.subspace import Entry, Subspace


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


def extend_with_tasks(subspace: Subspace, solutions: Sequence[Solution], limit: int | None = None) -> Extension:
    """Take new tasks' solutions in; every vector given out decodes to the same parameters as before.

    Args:
        subspace: the old one; it stays as it is.
        solutions: of new tasks, one for every delta of the subspace.
        limit: largest number of dimensions to add; one for each new task by default.

    Returns:
        The grown subspace, and how much the old dimensions hold and each added one brings. Vectors from before get zeros behind
        them (`Vectors.padded`).

    Raises:
        DeltaspaceError: a solution is missing, or a task is among the sources already.
    """
    tasks = list(dict.fromkeys(solution.task for solution in solutions))
    if known := sorted(set(tasks) & set(subspace.sources)):
        raise DeltaspaceError(f"the subspace has the source task {known[0]} already", expected="solutions of new tasks")
    displacements = {(solution.delta, solution.task): solution.displacement for solution in solutions}
    if missing := [(d, t) for d in subspace.entries for t in tasks if (d, t) not in displacements]:
        raise DeltaspaceError(
            f"no solution of {missing[0][0]} for {missing[0][1]}", expected="one for every delta of the subspace and new task"
        )
    stacks = [torch.stack([displacements[delta, task] for task in tasks]) for delta in subspace.entries]
    entries = list(subspace.entries.values())
    held = torch.stack([entry.encode(stack) for entry, stack in zip(entries, stacks, strict=True)])
    if subspace.shared:
        held = held.mean(0).expand_as(held)
    units = [entry.map.units for entry in entries]
    rest = [InMemory(stack - entry.displace(codes)) for entry, stack, codes in zip(entries, stacks, held, strict=True)]
    before = sum(float(gram(InMemory(s), u).trace()) for s, u in zip(stacks, units, strict=True))
    grams = [gram(r, u) for r, u in zip(rest, units, strict=True)]
    left = sum(float(g.trace()) for g in grams)
    count = min(len(tasks), limit if limit is not None else len(tasks))
    new = shared_codes(grams, count)
    values = torch.linalg.eigvalsh(torch.stack(grams).sum(0)).flip(0)[:count].clamp_min(0)
    grown: dict[str, Entry] = {}
    for (name, entry), unit, rows in zip(subspace.entries.items(), units, rest, strict=True):
        # One tensor block: nothing is cut by depth.
        up = basis(Source(rows, [len(unit)]), unit, new, [1] * count, count)
        grown[name] = replace(entry, map=Stacked(entry.map, Linear(unit.clone(), up), subspace.dim))
    codes = torch.cat([pad(subspace.codes, (0, count)), torch.cat([held, new.expand(len(held), -1, -1)], dim=2)], dim=1)
    after = replace(
        subspace,
        dim=subspace.dim + count,
        entries=grown,
        sources=(*subspace.sources, *tasks),
        codes=codes,
        vectors=subspace.vectors.padded(count),
    )
    return Extension(after, 1 - left / before, tuple((values / before).tolist()))


def extend_with_delta(subspace: Subspace, attached: AttachedDelta, solutions: Sequence[Solution]) -> Extension:
    """Take a new delta in; every vector given out decodes to the same parameters as before, and as the new delta too.

    Args:
        subspace: the old one; it stays as it is.
        attached: the new delta, on the same PLM.
        solutions: of the new delta, for source tasks of the subspace.

    Raises:
        DeltaspaceError: there is no solution, one is of a task without a code, the PLM is another, or the deltas of the
            subspace share no codes.
    """
    if attached.backbone.fingerprint != subspace.plm.fingerprint:
        raise DeltaspaceError("the new delta is on another model", found=attached.backbone.name, expected=subspace.plm.name)
    displacements = {solution.task: solution.displacement for solution in solutions if solution.delta == attached.name}
    if not displacements or not set(displacements) <= set(subspace.sources):
        raise DeltaspaceError(
            f"{attached.name} cannot be taken in",
            found=", ".join(sorted(set(displacements) - set(subspace.sources))) or "no solution",
            expected="its solutions for source tasks of the subspace: " + ", ".join(subspace.sources),
            mend="take new tasks in first, with the solutions of the other deltas",
        )
    shared = subspace.shared_codes()
    codes = shared[[subspace.sources.index(task) for task in displacements]]
    stack = torch.stack(list(displacements.values()))
    solved: Float[Tensor, "dim tasks"] = torch.linalg.pinv(codes.double()).to(stack)
    solution: Map
    if attached.delta.large:
        edges = torch.tensor([0, stack.shape[1]], device=stack.device)
        solution = Mixture(edges, solved.unsqueeze(0), stack.bfloat16())
    else:
        size = stack.shape[1]
        units = (stack.norm(dim=1).mean() / size**0.5).repeat(size)
        solution = Linear(units, solved @ (stack / units))
    left = (stack - solution.decode(codes)).square().sum() / stack.square().sum()
    after = replace(
        subspace,
        entries={**subspace.entries, attached.name: Entry(attached.initial, solution, attached.settings())},
        codes=torch.cat([subspace.codes, shared.unsqueeze(0)]),
    )
    return Extension(after, 1 - float(left), ())
