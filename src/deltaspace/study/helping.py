"""Several processes that were started for one run, as `accelerate launch` does: the first one runs the study, the others help it
to train the artefacts of joint stages (`training/processes.py`), and write nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from deltaspace.errors import DeltaspaceError
from deltaspace.study.artefact import Artefact
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES
from deltaspace.training import Processes, Resume

# Helpers wait while the first process makes what is not joint.
_PATIENCE = timedelta(days=30)


def launched() -> Processes:
    """The processes that were started together; this one alone where it was started by itself."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ:
        # Here, because a run of one process needs nothing of it so early.
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        PartialState(parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=_PATIENCE)
    return Processes.launched()


class HelpedGraph(Graph):
    """A study whose joint stages several processes train, of which this is the first.

    Args:
        resources: see `Graph`.
        processes: all of them.
    """

    def __init__(self, resources: Resources, processes: Processes) -> None:
        super().__init__(resources)
        self._processes = processes

    def renewed(self) -> Graph:
        """See `Graph.renewed`."""
        return HelpedGraph(super().renewed().resources, self._processes)

    def begin(self, artefact: Artefact) -> None:
        """See `Graph.begin`."""
        if STAGES[artefact.stage].joint:
            self._processes.from_first(lambda: (artefact.path, self.fingerprint(artefact)))


@contextmanager
def helped(processes: Processes) -> Iterator[None]:
    """A run by the first of several processes; in the end the helpers are told that nothing is left to do."""
    try:
        yield
    except Exception:
        _dismiss(processes)
        raise
    # A signal comes to all processes: nobody waits for a word then.
    _dismiss(processes)


def help_with(recipe: Recipe, out: Folder, processes: Processes) -> None:
    """Train what the first process trains, until it says that nothing is left to do.

    Args:
        recipe: the study's, until it has one.
        out: the study's folder.
        processes: all of them.

    Raises:
        DeltaspaceError: this process sees other files than the first one.
    """
    graph: Graph | None = None
    resources = Resources(recipe, out)
    while (asked := processes.from_first(lambda: None)) is not None:
        path, fingerprint = asked
        if graph is None:
            graph = Graph(Resources(load_recipe(out.path / RECIPE), out, beside=resources))
        stage = STAGES.find(path.partition("/")[0])
        artefact = next(each for each in map(stage.artefact, stage.keys(graph.resources.recipe)) if each.path == path)
        graph.check_fingerprint(artefact, fingerprint, f"by process {processes.rank} of {processes.count}")
        try:
            stage.make(graph.resources, artefact.key, Resume(out.resume_state(path), fingerprint))
        except DeltaspaceError:  # the first process met it too, and tells of it
            continue


def _dismiss(processes: Processes) -> None:
    processes.from_first(lambda: None)
