"""The side of a worker: it makes one artefact after another, each known by its study, its path and its fingerprint."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.study.artefact import Artefact
from deltaspace.study.claims import ClaimedElsewhere
from deltaspace.study.engines.threads import threads_of_torch
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder, State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES


class Outcome(NamedTuple):
    """What came of an artefact.

    Args:
        made: whether it was made; else it was brought back.
        seconds: that it took, without what a worker loads once.
    """

    made: bool
    seconds: float


# Of a parameter sweep, so many studies are kept open: the artefacts of one mostly follow each other.
_OPEN = 4


class _Opened(NamedTuple):
    """A study, and the artefacts of those of its stages that were asked for, by path."""

    graph: Graph
    artefacts: dict[str, Artefact]


class Making:
    """What a worker keeps from one artefact to the next: the studies with their PLM, for as long as one run lasts."""

    def __init__(self) -> None:
        self._run = ""
        # The one that was used last is the last.
        self._opened: dict[str, _Opened] = {}

    def make(self, run: str, study: str, path: str, fingerprint: str, state: State, threads: int, observer: Observer) -> Outcome:
        """Make an artefact; there are many parameters since this is all that passes between two processes.

        Args:
            run: tells runs apart, since their recipes and files may differ.
            study: the folder.
            path: the artefact's, in the study.
            fingerprint: that it has for the process that asks.
            state: why it is made.
            threads: of torch.
            observer: told what goes on.

        Raises:
            DeltaspaceError: a user's mistake, or this process sees other files than the one that asks.
        """
        graph, artefacts = self._open(run, study)
        artefact = _artefact(graph, artefacts, path)
        graph.check_fingerprint(artefact, fingerprint, f"on {platform.node()}")
        started = time.perf_counter()
        with threads_of_torch(threads):
            made = graph.make(artefact, state, observer)
        return Outcome(made, time.perf_counter() - started)

    def _open(self, run: str, study: str) -> _Opened:
        last = next(reversed(self._opened.values())).graph.resources if self._opened else None
        if self._run != run:
            self._opened = {}
        if (opened := self._opened.pop(study, None)) is None:
            same = last if self._run == run else None
            resources = Resources(load_recipe(Path(study) / RECIPE), Folder(study), beside=same)
            if last is not None:
                resources.share(last)
            # Loaded now, so that no artefact's time has it.
            assert resources.backbone
            opened = _Opened(Graph(resources), {})
        self._run, self._opened[study] = run, opened
        if len(self._opened) > _OPEN:
            del self._opened[next(iter(self._opened))]
        return opened


def _artefact(graph: Graph, known: dict[str, Artefact], path: str) -> Artefact:
    if path not in known:
        stage = STAGES.find(path.partition("/")[0])
        listed = map(stage.artefact, stage.keys(graph.resources.recipe))
        known |= {artefact.path: artefact for artefact in listed}
    if path not in known:
        raise DeltaspaceError(f"the recipe does not ask for {path}", found=str(graph.resources.folder.path / RECIPE))
    return known[path]


def said_of(making: Making, job: Mapping[str, Any], observer: Observer) -> dict[str, Any]:
    """Make an artefact; what came of it as plain values, which any channel takes: `crew.heard_of` reads them.

    Args:
        making: this process's.
        job: the arguments of `Making.make`.
        observer: told what goes on.
    """
    try:
        return {"what": "end", **making.make(**job, observer=observer)._asdict()}
    except DeltaspaceError as error:
        details = {name: None if (said := getattr(error, name)) is None else str(said) for name in ("found", "expected", "mend")}
        return {"what": "mistake", "error": error.what, **details}
    except ClaimedElsewhere:
        return {"what": "elsewhere"}
    except ConnectionError:  # nobody hears it any more
        raise
    except Exception as error:  # whatever it is, the other artefacts can be made
        return {"what": "error", "text": f"{type(error).__name__}: {first_line(error)}", "details": traceback.format_exc()}
