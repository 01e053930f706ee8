"""A parameter sweep: one recipe at many points (d, source tasks, deltas, projection, seeds), each a study.

The independent solutions are made once, in a study that all points share. The artefacts of all these studies are one graph
(`graphs.py`), so that an engine makes whatever is ready, of whichever point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from pydantic import ValidationError

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.mistakes import plainly, shown
from deltaspace.names import check_name
from deltaspace.storage import clear_left, path_of, what_is_at, write_text
from deltaspace.study.artefact import Artefact
from deltaspace.study.check import check_deltas, check_spaces
from deltaspace.study.engines import ENGINES, Engine
from deltaspace.study.files import RECIPE, SWEEP
from deltaspace.study.folder import Folder, State
from deltaspace.study.graph import Graph
from deltaspace.study.graphs import Graphs
from deltaspace.study.helping import launched
from deltaspace.study.history import FAILED, FINISHED, Log, ended_by
from deltaspace.study.imported import Imports
from deltaspace.study.kept_recipe import keep_recipe
from deltaspace.study.live import live
from deltaspace.study.lock import LOCK, locked
from deltaspace.study.observer import Observer, Observers, Worker
from deltaspace.study.points import SHARED, Listed, Sweep, last_stage, points, studies_of
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.results import read_scores
from deltaspace.study.run import set_aside_unwanted
from deltaspace.study.scores import SweepRow
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.yaml_file import load_yaml
from deltaspace.study.yaml_text import NotYaml, read_yaml

# Stages whose scores are of vectors: what a sweep's points are compared by.
_OF_VECTORS = ("optimized", "transferred", "translated", "mean_code", "in_span")


def load_sweep(path: Path | str) -> tuple[Sweep, Recipe]:
    """Read a sweep file and its recipe.

    Raises:
        DeltaspaceError: as `load_recipe`, of either file; or the sweep asks for more than the recipe has.
    """
    path = Path(path)
    sweep = load_yaml(path, Sweep, "sweep", "the keys recipe and grids", "docs/sweeps.md shows every key")
    recipe = load_recipe(path.parent / path_of(sweep.recipe))
    points(sweep, recipe)
    return sweep, recipe


def run_sweep(
    sweep: Sweep, recipe: Recipe, out: Path | str, *, observer: Observer | None = None, engine: Engine | str = "serial"
) -> int:
    """Make everything of a sweep that is missing, stale or damaged, as one graph: the solutions once, and all points.

    A mistake stops only what is made from the artefact that it is in, whatever the engine.

    Args:
        sweep: the points.
        recipe: what is common to them.
        out: the sweep's folder.
        observer: told what goes on.
        engine: as in `run_study`.

    Returns:
        The number of artefacts made.

    Raises:
        DeltaspaceError: as `run_study`.
    """
    out, observer = path_of(out), observer or Observer()
    if (count := launched().count) > 1:
        raise DeltaspaceError(
            "a sweep is run by one process",
            found=f"{count} that were started together",
            mend="start one, with --workers or --ray",
        )
    with ENGINES.find(engine)() if isinstance(engine, str) else engine as kept:
        return _run_points(sweep, recipe, out, observer, kept)


def _run_points(sweep: Sweep, recipe: Recipe, out: Path, observer: Observer, engine: Engine) -> int:
    listed = points(sweep, recipe)
    recipes = studies_of(listed, recipe)
    check_free(out)
    shared = Resources(recipes[SHARED], Folder(out / SHARED))  # mistakes show before anything is written
    with interruptible(), locked(out), live(Folder(out)) as told:
        write_text(out / SWEEP, yaml.safe_dump([point.listed for point in listed], sort_keys=False))
        shared.imports = Imports(shared.folder)
        whole = _graphs(out, recipes, shared)
        for name, graph in whole.studies.items():
            clear_left(graph.resources.folder.check_free())
            # A study has its lock before its recipe; the sweep's keeps others out of it from here on.
            with locked(out / name):
                graph.resources.folder.claims.clear()
                keep_recipe(recipes[name], out / name)
        whole.give_valid()
        states = [(artefact, whole.state(artefact)) for artefact in whole.order(whole.wanted())]
        todo = [(artefact, state) for artefact, state in states if state != "valid"]
        _check(shared, {name: whole.studies[name] for name in {whole.inside(artefact)[0] for artefact, _ in todo}})
        with _logged(whole, todo, {name: Log(out / name, last_stage(name)) for name in whole.studies}, observer) as logs:
            observers = Observers([logs, told, observer])
            observers.plan(len(todo), len(states) - len(todo))
            made = engine.run(whole, todo, observers)
        for name, graph in whole.studies.items():
            if name != SHARED:
                set_aside_unwanted(graph, whole.asked[name], observer)
    return made


def sweep_graph(out: Path) -> Graph:
    """All studies of a sweep that was begun, as one graph.

    Raises:
        DeltaspaceError: a file of it is missing or damaged, or its model or tasks are gone.
    """
    names = [SHARED, *(point.name for point in _listed(out / SWEEP))]
    for name in names:
        Folder(out / name).check()
    recipes = {name: load_recipe(out / name / RECIPE) for name in names}
    return _graphs(out, recipes, Resources(recipes[SHARED], Folder(out / SHARED)))


def _graphs(out: Path, recipes: Mapping[str, Recipe], shared: Resources) -> Graphs:
    graphs = {name: Graph(Resources(recipe, Folder(out / name), beside=shared)) for name, recipe in recipes.items()}
    return Graphs(SHARED, graphs, {name: graph.order(graph.wanted(last_stage(name))) for name, graph in graphs.items()})


def _check(shared: Resources, graphs: Mapping[str, Graph]) -> None:
    """See that what is to be made can be.

    Args:
        shared: of the study whose deltas and tasks are those of all.
        graphs: of the studies of which something is to be made.

    Raises:
        DeltaspaceError: something does not fit.
    """
    if graphs:
        check_deltas(shared)
    for name in sorted(graphs.keys() - {SHARED}):
        try:
            check_spaces(graphs[name].resources)
        except DeltaspaceError as error:
            raise DeltaspaceError(
                f"the point {name}: {error.what}", found=error.found, expected=error.expected, mend=error.mend
            ) from None


class _Logs(Observer):
    """Tells the log of each study what is of its artefacts."""

    def __init__(self, whole: Graphs, logs: Mapping[str, Log]) -> None:
        self._whole, self._logs = whole, logs
        self._worker: Worker | None = None

    def worker(self, worker: Worker) -> None:
        self._worker = worker

    def start(self, artefact: Artefact, reason: State) -> None:
        log, inside = self._of(artefact)
        log.start(inside, reason)

    def end(self, artefact: Artefact) -> None:
        log, inside = self._of(artefact)
        log.end(inside)

    def failed(self, artefact: Artefact, why: str, *, again: bool) -> None:
        log, inside = self._of(artefact)
        log.failed(inside, why, again=again)

    def _of(self, artefact: Artefact) -> tuple[Log, Artefact]:
        name, inside = self._whole.inside(artefact)
        if self._worker is not None:
            self._logs[name].worker(self._worker)
        return self._logs[name], inside


@contextmanager
def _logged(
    whole: Graphs, todo: Sequence[tuple[Artefact, State]], logs: Mapping[str, Log], observer: Observer
) -> Iterator[Observer]:
    """As `history.logged`, of several studies: those that are whole are finished, however the others ended."""
    ended = FAILED
    try:
        yield _Logs(whole, logs)
        ended = FINISHED
    except BaseException as error:
        ended = ended_by(error)
        raise
    finally:
        unmade = {whole.inside(artefact)[0] for artefact, _ in todo if ended != FINISHED and whole.state(artefact) != "valid"}
        for name, log in logs.items():
            if name not in unmade or log.heard:
                log.write(ended if name in unmade else FINISHED, observer)


def check_free(out: Path) -> None:
    """Raise DeltaspaceError unless the folder is a sweep's, or new: a sweep writes its file first, as a list."""
    present = what_is_at(out, follow=True)
    if present == "a folder":
        # Its lock and its state are there before its file.
        names = sorted(
            path.name for path in out.iterdir() if not path.name.endswith(".tmp") and path.name not in (LOCK, ".running")
        )
        begun = what_is_at(out / SWEEP) == "a file" and (out / SWEEP).read_bytes()[:1] == b"-"
        present = "" if begun or (SWEEP in names and SHARED in names) else ", ".join(names[:8])
    if present:
        raise DeltaspaceError(
            f"{out} is not a sweep", found=f"{present} is there", expected="a sweep, or a new folder", mend="choose another --out"
        )


def is_sweep(folder: Path | str) -> bool:
    """Whether the folder is one of `run_sweep`."""
    return (path_of(folder) / SWEEP).exists()


def read_sweep_scores(folder: Path | str) -> list[SweepRow]:
    """Every score of vectors that a sweep has so far (optimization, transfer with its controls, translation), with its point.

    Raises:
        DeltaspaceError: the folder is no sweep, or a file of it is damaged (see `read_scores`).
    """
    folder, rows = Path(folder), []
    for listed in _listed(folder / SWEEP):
        study = folder / listed.name
        if (study / RECIPE).exists():
            point = (listed.projection, listed.source_tasks, listed.deltas, listed.left_out)
            rows += [SweepRow.at(row, *point) for row in read_scores(study) if row.stage in _OF_VECTORS]
    return rows


def points_without_scores(folder: Path | str) -> list[str]:
    """Points of a sweep of which nothing was optimized yet: not begun, failed, or on the way.

    Raises:
        DeltaspaceError: the folder is no sweep.
    """
    folder = Path(folder)
    return [listed.name for listed in _listed(folder / SWEEP) if not (folder / listed.name / OPTIMIZED.name).is_dir()]


def _listed(path: Path) -> list[Listed]:
    """The points that the sweep's file lists."""
    if not path.exists():
        raise DeltaspaceError(f"{path.parent} is no sweep", found=f"no {path.name}", expected="a sweep's folder")
    try:
        _, said = read_yaml(path)
        if not isinstance(said, list):
            raise ValueError(f"no list but {shown(said)}")
        listed = [Listed.model_validate(point) for point in said]
        names = [check_name("a point", point.name) for point in listed]
        if len(set(names)) < len(names):
            raise ValueError("two points have one name")
        return listed
    except ValidationError as error:
        found = plainly(error)
    except (NotYaml, ValueError) as error:
        found = str(error)
    raise DeltaspaceError(
        f"{path} is damaged",
        found=found,
        expected="a list of points, each with name, projection, source_tasks, deltas, left_out, dim, of 'deltaspace sweep'",
        mend="run the sweep again",
    )
