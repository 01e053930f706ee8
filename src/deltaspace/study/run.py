"""Running a recipe: every artefact that is missing, stale or damaged is made, in order; everything else stays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.study.artefact import Artefact
from deltaspace.study.check import check_resources
from deltaspace.study.engines import ENGINES, Engine, Serial
from deltaspace.study.files import SWEEP
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.helping import HelpedGraph, help_with, helped, launched
from deltaspace.study.history import logged
from deltaspace.study.joining import held
from deltaspace.study.kept_recipe import check_same, keep_recipe
from deltaspace.study.live import live
from deltaspace.study.observer import Observer, Observers
from deltaspace.study.recipe import Recipe
from deltaspace.study.record import is_artefact
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES


def run_study(
    recipe: Recipe,
    out: Path | str,
    *,
    until: str | None = None,
    verify: bool = False,
    observer: Observer | None = None,
    engine: Engine | str = "serial",
    join: bool = False,
) -> int:
    """Make everything of a study that is missing, stale or damaged.

    Args:
        recipe: what to compute.
        out: the study's folder.
        until: the last stage, a name of `deltaspace.study.STAGES`; all of them by default.
        verify: read the tensors of all that is there too: what is damaged inside is made anew.
        observer: told what goes on.
        engine: what makes the artefacts, or its name (`deltaspace.study.ENGINES`); one after another by default.
        join: where another run of the same recipe is going on, work beside it; nothing is made twice.

    Returns:
        The number of artefacts made here; 0 in all but the first of processes that were started together.

    Raises:
        DeltaspaceError: a mistake in the recipe or the tasks, a full disk, a study that is already running (and is not joined).
        ArtefactsFailed: an engine that goes on without what fails could not make everything, through no user's mistake.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP came (a `KeyboardInterrupt`); what was made is kept.
    """
    out, observer = Path(out), observer or Observer()
    engine = ENGINES.find(engine)() if isinstance(engine, str) else engine
    if (out / SWEEP).exists():
        raise DeltaspaceError(f"{out} is a sweep", expected="a study's folder, or a new one", mend="choose another --out")
    processes = launched()
    if processes.count > 1 and not isinstance(engine, Serial):
        raise DeltaspaceError(
            f"the engine {engine.name} starts processes of its own",
            found=f"{processes.count} processes that were started together",
            mend="start one process; or leave out --workers and --ray, and train the subspace alone so: deltaspace approximate",
        )
    if not processes.first:
        with interruptible():
            help_with(recipe, Folder(out), processes)
        return 0
    resources = Resources(recipe, Folder(out))
    graph = Graph(resources) if processes.count == 1 else HelpedGraph(resources, processes)
    graph.order(graph.wanted(until))  # mistakes show before anything is written
    with (
        helped(processes),
        interruptible(),
        held(graph.resources.folder, join) as hold,
        logged(out, until, observer) as log,
        nullcontext(Observer()) if hold.joined else live(graph.resources.folder) as told,
    ):
        if hold.joined:
            check_same(recipe, out)
            observer.note(f"working beside another run; to follow both: deltaspace status {out}")
        graph = graph.renewed()
        ordered = graph.order(graph.wanted(until))
        for text in graph.resources.imports.doubts:
            observer.note(text)
        states = [(artefact, graph.state(artefact, tensors=verify)) for artefact in ordered]
        todo = [(artefact, state) for artefact, state in states if state != "valid"]
        for artefact, state in states:
            if state == "valid":  # a run may be killed between an artefact and the end of its state
                graph.resources.folder.forget_states(artefact.path)
        observers = Observers([log, told, observer])
        observers.plan(len(todo), len(states) - len(todo))
        if todo:
            check_resources(graph.resources)
        if not hold.joined:
            keep_recipe(recipe, out)
            hold.share()
        made = engine.run(graph, todo, observers)
        if until is None:
            set_aside_unwanted(graph, ordered, observer)
    return made


def set_aside_unwanted(graph: Graph, wanted: Sequence[Artefact], observer: Observer) -> None:
    """Set aside what the recipe no longer speaks of, so that tables show this recipe's rows only; and what is no artefact."""
    folder, kept = graph.resources.folder, {artefact.path for artefact in wanted}
    for stage in STAGES.values():
        for path in list(folder.files(stage.name)):
            whole = is_artefact(folder, path)
            # A run beside this one may have done it.
            if path not in kept and not (stage.explored and whole) and folder.has(path):
                why = "the recipe does not ask for it" if whole else "it is damaged, or does not belong there"
                folder.set_aside(path)
                observer.note(f"{path} set aside under superseded/: {why}")
