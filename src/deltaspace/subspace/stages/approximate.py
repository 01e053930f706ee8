"""Stage 1, subspace approximation: arXiv 2210.13311, section 3, joint decomposition of the source solutions.

How is the projection method's affair: in closed form, or trained (`methods/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from deltaspace.arguments import check_kind, check_kinds, check_seed
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.seeds import derived_seed
from deltaspace.solutions import Solution
from deltaspace.subspace.fitting import Approximation, Problem, ProjectionMethod, Source
from deltaspace.subspace.fitting.displacements import Displacements, InMemory
from deltaspace.subspace.methods import find_projection
from deltaspace.subspace.subspace import Entry, Plm, Subspace
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Resume


def approximate(
    attached: Sequence[AttachedDelta],
    solutions: Sequence[Solution] | Mapping[str, Displacements],
    tasks: Sequence[Task],
    *,
    dim: int,
    projection: str | ProjectionMethod = "svd",
    settings: Approximation | None = None,
    seed: int = 0,
    resume: Resume = NO_RESUME,
) -> Subspace:
    """Decompose source solutions jointly into one subspace.

    Eight parameters: what is decomposed, how, and how a long training resumes.

    Args:
        attached: the deltas, on one backbone.
        solutions: one for every delta and source task, in any order; or of every delta the displacements in the order of
            `tasks`, which may lie in files larger than memory together. Random projections need none.
        tasks: the source tasks.
        dim: d.
        projection: the method, a name of `deltaspace.subspace.PROJECTIONS` or one with settings.
        settings: `deltaspace.subspace.APPROXIMATE` by default; used by methods that are trained.
        seed: decides the projections' initial values, the weights, the order of the tasks and of their examples.
        resume: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: a solution is missing, given twice, not finite or of another delta; two deltas or tasks share a name;
            deltas are on different models; d does not suit the projections; or the training diverges.

    Example:
        >>> lora = attach("lora", backbone, r=2)
        >>> solution = train(lora, task, Training(steps=2, lr=0.01, evaluate_every=2))
        >>> subspace = approximate([lora], [solution], [task], dim=2)
        >>> subspace.decode("lora", subspace.mean_code("lora")).shape == solution.vector.shape
        True
    """
    check_kinds(attached, AttachedDelta, "a delta on a model", "attach('lora', backbone)")
    check_kinds(tasks, Task, "a task", "load_task or make_task")
    _check(attached, tasks, dim)
    method = find_projection(projection) if isinstance(projection, str) else projection
    check_kind(method, ProjectionMethod, "a projection method", "a name such as 'svd', or find_projection('aligned', steps=...)")
    settings = settings or APPROXIMATE
    check_kind(settings, Approximation, "how a subspace is trained", "Approximation(steps=...)")
    check_seed(seed)
    if method.needs_solutions and not tasks:
        raise DeltaspaceError(
            f"the projection {method.name} is made from solutions",
            found="no source tasks",
            expected="at least one, with a solution of every delta",
            mend="give tasks and solutions, or take a random projection such as gaussian",
        )
    sources = [
        Source(_displacements(delta, solutions, tasks, method), delta.layout.sizes, delta.delta.large) for delta in attached
    ]
    problem = Problem(attached, sources, tasks, dim, settings, seed)
    fitted = method.fit(problem, derived_seed(seed, "projections"), resume)
    backbone = attached[0].backbone
    offsets = fitted.offsets or [None for _ in attached]
    entries = {
        delta.name: Entry(delta.initial, made, delta.settings(), offset)
        for delta, made, offset in zip(attached, fitted.maps, offsets, strict=True)
    }
    return Subspace(
        dim,
        Plm(backbone.name, backbone.fingerprint, backbone.family.name),
        entries,
        tuple(task.name for task in tasks) if fitted.codes.shape[1] else (),
        fitted.codes,
        method.shared,
        attached[0].seed,
        fitted.history,
    )


def _check(attached: Sequence[AttachedDelta], tasks: Sequence[Task], dim: int) -> None:
    if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
        raise DeltaspaceError("a subspace has at least one dimension", found=f"dim={dim!r}", expected="1 or more, a whole number")
    if not attached:
        raise DeltaspaceError("a subspace of no deltas", expected="at least one")
    if len(models := {delta.backbone.fingerprint: delta.backbone.name for delta in attached}) > 1:
        raise DeltaspaceError(
            "the deltas are on different models", found=", ".join(models.values()), expected="one backbone for all of them"
        )
    for kind, names in (("deltas", [delta.name for delta in attached]), ("tasks", [task.name for task in tasks])):
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise DeltaspaceError(
                f"two {kind} are called {twice[0]!r}", found=", ".join(names), expected=f"another name for each of the {kind}"
            )


def _displacements(
    delta: AttachedDelta,
    solutions: Sequence[Solution] | Mapping[str, Displacements],
    tasks: Sequence[Task],
    method: ProjectionMethod,
) -> Displacements:
    if not solutions and not method.needs_solutions:
        return InMemory(delta.initial.new_zeros(0, delta.layout.size))
    if isinstance(solutions, Mapping):
        given = solutions.get(delta.name)
        if given is None or tuple(given.shape) != (len(tasks), delta.layout.size):
            raise DeltaspaceError(
                f"the displacements of {delta.name} do not fit",
                found="none" if given is None else "{} x {}".format(*given.shape),
                expected=f"one of {delta.layout.size} numbers for each of {len(tasks)} source tasks",
            )
        return given
    by_task: dict[str, Tensor] = {}
    for solution in solutions:
        if solution.delta == delta.name:
            _check_solution(delta, solution)
            if solution.task in by_task:
                raise DeltaspaceError(
                    f"two solutions of {delta.name} for {solution.task}", expected="one for every delta and task"
                )
            by_task[solution.task] = solution.displacement
    if missing := [task.name for task in tasks if task.name not in by_task]:
        raise DeltaspaceError(
            f"no solution of {delta.name} for the source task {missing[0]}", expected="one for every delta and task"
        )
    return InMemory(torch.stack([by_task[task.name] for task in tasks]))


def _check_solution(delta: AttachedDelta, solution: Solution) -> None:
    told = f"the solution of {delta.name} for {solution.task}"
    if solution.vector.shape != delta.initial.shape or solution.displacement.shape != delta.initial.shape:
        raise DeltaspaceError(
            f"{told} does not fit the delta",
            found=f"{len(solution.vector)} numbers",
            expected=f"{delta.layout.size}",
            mend="attach the delta with the settings that it was trained with",
        )
    if not bool(solution.vector.isfinite().all() and solution.displacement.isfinite().all()):
        raise DeltaspaceError(f"{told} is not finite", found="NaN or infinite numbers", mend="train it again")
    # To rounding: the displacement is the vector minus theta0.
    if not torch.allclose(solution.vector - solution.displacement, delta.initial, rtol=1e-4, atol=1e-5):
        raise DeltaspaceError(
            f"{told} was not trained from where {delta.name} starts",
            found=f"another initial vector than that of seed {delta.seed}",
            mend="attach the delta with the seed, and to the model, that it was trained with",
        )


APPROXIMATE = Approximation(steps=100, lr=2e-3, batch_size=8, evaluate_every=25)
