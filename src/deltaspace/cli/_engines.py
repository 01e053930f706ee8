"""Options that say what makes the artefacts, for all verbs that make many."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from deltaspace.study import Engine

AUTO = "auto"
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|auto",
        help="Make artefacts in so many processes, each with --threads; auto: as many as cores and memory allow.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads for each artefact; numbers depend on it. 1 with --workers or --ray, else all cores or OMP_NUM_THREADS.",
    ),
]
JointThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="The same for each subspace, for which others wait; all cores or OMP_NUM_THREADS by default."),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="auto|local|ADDRESS", help="Make artefacts as tasks of a Ray cluster; --out is a shared folder."
    ),
]
CpusOption = Annotated[float | None, typer.Option(help="Of Ray: CPUs for each artefact; 1 by default.")]
GpusOption = Annotated[float | None, typer.Option(help="Of Ray: GPUs for each artefact, such as 0.25; 0 by default.")]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        "--max-retries",
        metavar="N",
        min=0,
        help="With --workers or --ray: how often an artefact is begun again whose worker died or met an error; 2 by default.",
    ),
]
SideBySideOption = Annotated[
    int | None,
    typer.Option(
        "--side-by-side",
        metavar="N",
        min=1,
        help="Without --workers and --ray: trainings of one delta that share each pass of the model; for GPUs. 1 by default.",
    ),
]


def _chosen(
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    joint_threads: JointThreadsOption = None,
    ray: RayOption = None,
    cpus_per_task: CpusOption = None,
    gpus_per_task: GpusOption = None,
    max_retries: RetriesOption = None,
    side_by_side: SideBySideOption = None,
) -> Engine:
    """What the options ask for.

    Raises:
        DeltaspaceError: they ask for what cannot be.
    """
    from deltaspace.study import Ray, Serial, Workers

    if side_by_side is not None and (workers is not None or ray is not None):
        raise DeltaspaceError(
            "--side-by-side is of one process", found="--workers" if ray is None else "--ray", mend="leave out one of the two"
        )
    retries = {} if max_retries is None else {"max_retries": max_retries}
    if ray is not None:
        if workers is not None:
            raise DeltaspaceError("--workers and --ray are two engines", mend="choose one of them")
        return Ray(ray, cpus_per_task or 1.0, gpus_per_task or 0.0, threads, joint_threads, **retries)
    if cpus_per_task is not None or gpus_per_task is not None:
        raise DeltaspaceError("--cpus-per-task and --gpus-per-task are for --ray")
    if workers is None:
        if retries:
            raise DeltaspaceError(
                "--max-retries is for --workers and --ray",
                found="neither; one process alone ends at the first mistake",
                mend="add --workers auto, or leave it out",
            )
        return Serial(threads, joint_threads, side_by_side or 1)
    return Workers(_count(workers), threads or 1, joint_threads, **retries)


def engine_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose keyword `engine` is asked for by options: the parameters of `_chosen` stand in its place."""
    options = _parameters(_chosen)

    @wraps(verb)
    def with_engine(*args: Any, **given: Any) -> None:
        asked = {option.name: given.pop(option.name, option.default) for option in options}
        verb(*args, **given, engine=_chosen(**asked))

    parameters = [*(parameter for parameter in _parameters(verb) if parameter.name != "engine"), *options]
    # What typer reads a verb's options from.
    with_engine.__dict__["__signature__"] = inspect.Signature(parameters)
    with_engine.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_engine


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """With the types that their annotations name; that of engines costs an import of torch, and no option has it."""
    types = get_type_hints(function, localns={"Engine": object}, include_extras=True)
    return [parameter.replace(annotation=types[name]) for name, parameter in inspect.signature(function).parameters.items()]


def _count(workers: str) -> int | None:
    if workers == AUTO:
        return None
    if not workers.isascii() or not workers.isdecimal() or int(workers) < 1:
        raise DeltaspaceError(f"--workers {workers}", expected=f"{AUTO}, or a number from 1")
    return int(workers)
