"""A landscape of a study that is there already, beside those that its recipe asks for."""

from __future__ import annotations

from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import interruptible
from deltaspace.landscape import Landscape
from deltaspace.study.engines import Serial
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import logged
from deltaspace.study.live import live
from deltaspace.study.observer import Observer, Observers
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.slices import SliceSpec
from deltaspace.study.stages.landscapes import LANDSCAPES, Key


def sample_landscape(folder: Path | str, spec: SliceSpec, *, observer: Observer | None = None) -> tuple[str, Landscape]:
    """Sample a slice of a study's subspace, or go on where that was stopped; a landscape that is there is read.

    Args:
        folder: of a study whose vectors are tuned.
        spec: which slice.
        observer: told what goes on.

    Returns:
        Its name and the landscape, which is kept in the study.

    Raises:
        DeltaspaceError: the folder is no study, the slice does not fit its recipe, or what it needs is not there or stale.
    """
    folder = Path(folder)
    Folder(folder).check()
    recipe = load_recipe(folder / RECIPE)
    chosen = recipe.settle(spec)
    named = {settled.name: settled for settled in map(recipe.settle, recipe.landscapes)}
    wanted = named.get(chosen.name, chosen)
    if chosen.described() != wanted.described():
        raise DeltaspaceError(
            f"the recipe has a landscape {chosen.name!r} already",
            found=f"of the task {wanted.spec.task}, on another slice or sampled in another way",
            mend="choose another --name",
        )
    graph = Graph(Resources(recipe, Folder(folder)))
    artefact = LANDSCAPES.artefact(Key(chosen))
    for needed in graph.made_from(artefact).artefacts:
        if (state := graph.state(needed)) != "valid":
            raise DeltaspaceError(
                f"the landscape needs {folder / needed.path}, which is {state}",
                mend=f"deltaspace run {folder / RECIPE} --out {folder}",
            )
    observer = observer or Observer()
    with (
        interruptible(),
        graph.resources.folder.locked(),
        logged(folder, LANDSCAPES.name, observer) as log,
        live(graph.resources.folder) as told,
    ):
        state, observers = graph.state(artefact), Observers([log, told, observer])
        observers.plan(int(state != "valid"), int(state == "valid"))
        if state == "valid":
            graph.resources.folder.forget_states(artefact.path)
        else:
            Serial().run(graph, [(artefact, state)], observers)
    return chosen.name, Landscape.load(folder / artefact.path)
