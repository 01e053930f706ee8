"""Running a recipe: every artefact that is missing, stale or damaged is made, in order; everything else stays."""

from __future__ import annotations

from pathlib import Path

import yaml

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.storage import write_text
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines import Engine, Serial
from deltaspace.study.folder import RECIPE, SWEEP, Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import logged
from deltaspace.study.observer import Observer, Observers
from deltaspace.study.recipe import Recipe
from deltaspace.study.record import is_artefact
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES
from deltaspace.tasks import Task


def run_study(
    recipe: Recipe,
    out: Path | str,
    *,
    until: str | None = None,
    verify: bool = False,
    observer: Observer | None = None,
    engine: Engine | None = None,
) -> int:
    """Make everything of a study that is missing, stale or damaged.

    Args:
        recipe: what to compute.
        out: the study's folder.
        until: the last stage, a name of `deltaspace.study.STAGES`; all of them by default.
        verify: read the tensors of all that is there too: what is damaged inside is made anew.
        observer: told what goes on.
        engine: what makes the artefacts; one after another by default.

    Returns:
        The number of artefacts made.

    Raises:
        DeltaspaceError: a mistake in the recipe or the tasks, a full disk, a study that is already running.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP came (a `KeyboardInterrupt`); what was made is kept.
    """
    out, observer = Path(out), observer or Observer()
    if (out / SWEEP).exists():
        raise DeltaspaceError(f"{out} is a sweep", expected="a study's folder, or a new one", mend="choose another --out")
    graph = Graph(Resources(recipe, Folder(out)))
    ordered = graph.order(graph.wanted(until))
    with interruptible(), graph.resources.folder.locked(), logged(out, until) as log:
        states = [(artefact, graph.state(artefact, tensors=verify)) for artefact in ordered]
        todo = [(artefact, state) for artefact, state in states if state != "valid"]
        observer.plan(len(todo), len(states) - len(todo))
        keep_recipe(recipe, out)
        made = (engine or Serial()).run(graph, todo, Observers([log, observer]))
        if until is None:
            set_aside_unwanted(graph, ordered)
    return made


def keep_recipe(recipe: Recipe, out: Path) -> None:
    """Write the recipe into the study so that it can be run from there: its folder of tasks as an absolute path."""
    written = recipe.model_dump(mode="json", by_alias=True)
    written["tasks"]["folder"] = str(Path(recipe.tasks.folder or "").expanduser().resolve())
    text = yaml.safe_dump(written, sort_keys=False)
    path = out / RECIPE
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def set_aside_unwanted(graph: Graph, wanted: list[Artefact]) -> None:
    """Set aside what the recipe no longer speaks of, so that tables show this recipe's rows only; and what is no artefact."""
    folder, kept = graph.resources.folder, {artefact.path for artefact in wanted}
    for stage in STAGES.values():
        for path in list(folder.files(stage.name)):
            if path not in kept and not (stage.explored and is_artefact(folder, path)):
                folder.set_aside(path)


def check_recipe(recipe: Recipe) -> list[Task]:
    """Load all tasks and the model of a recipe and see that they fit, without training anything.

    Returns:
        The tasks.

    Raises:
        DeltaspaceError: something does not fit.
    """
    recipe.projection_method().read_from()
    resources = Resources(recipe, Folder(Path()))
    resources.deltas(recipe.seed[0])
    for task in resources.tasks.values():
        resources.backbone.family.check(task)
    return list(resources.tasks.values())
