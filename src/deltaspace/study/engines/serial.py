"""One artefact after another, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import check
from deltaspace.study.artefact import Artefact
from deltaspace.study.claims import ClaimedElsewhere
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.crew import WAIT_SECONDS
from deltaspace.study.engines.engine import ENGINES, Engine
from deltaspace.study.engines.failures import Failure, in_one_line, tell_failures
from deltaspace.study.engines.threads import Threads, threads_of_torch
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer


@ENGINES.register
class Serial(Engine):
    """Makes artefacts in the order in which they are given; the first mistake ends it, but for that of a point of a sweep.

    Args:
        threads: of torch for each artefact; by default as many as it has.
        joint_threads: the same for those of joint stages.
    """

    name = "serial"

    def __init__(self, threads: int | None = None, joint_threads: int | None = None) -> None:
        self.threads = Threads.chosen(threads, joint_threads)

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        costs, made = Costs(graph.resources, graph.folders()), 0
        costs.expect(artefact for artefact, _ in todo)
        # What cannot be made, and of each mistake the artefacts that are made from what it was in.
        lost: dict[Artefact, list[Artefact]] = {}
        failures: list[tuple[Artefact, DeltaspaceError, list[Artefact]]] = []
        elsewhere: set[Artefact] = set()
        later = list(todo)
        while later:
            now, later = later, []
            waiting: set[Artefact] = set()
            for artefact, state in now:
                parts, seconds = graph.made_from(artefact).artefacts, None
                started = time.perf_counter()
                try:
                    if (cause := next((part for part in parts if part in lost), None)) is not None:
                        lost[artefact] = lost[cause]
                        lost[artefact].append(artefact)
                    elif not waiting.isdisjoint(parts) or graph.is_claimed(artefact):
                        raise ClaimedElsewhere(artefact.path)
                    elif artefact in elsewhere and graph.state(artefact, tensors=state == "damaged") == "valid":
                        observer.elsewhere(artefact)
                    else:
                        with threads_of_torch(self.threads.of(artefact)):
                            made += graph.make(artefact, state, observer)
                        seconds = time.perf_counter() - started
                except ClaimedElsewhere:
                    # Another run makes it, or what it is made from.
                    waiting.add(artefact)
                    elsewhere.add(artefact)
                    later.append((artefact, state))
                    continue
                except DeltaspaceError as mistake:
                    if not graph.goes_on:
                        raise
                    lost[artefact] = []
                    failures.append((artefact, mistake, lost[artefact]))
                    observer.failed(artefact, in_one_line(mistake), again=False)
                if artefact not in lost:
                    graph.settled(artefact)
                costs.learn(artefact, seconds)
                observer.left(costs.left())
            if len(later) == len(now):
                time.sleep(WAIT_SECONDS)
                check()
        tell_failures(
            [Failure(failed.path, in_one_line(mistake), len(without), mistake) for failed, mistake, without in failures]
        )
        return made
