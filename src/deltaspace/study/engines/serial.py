"""One artefact after another, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence

from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.engine import ENGINES, Engine
from deltaspace.study.engines.threads import Threads, threads_of_torch
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer


@ENGINES.register
class Serial(Engine):
    """Makes artefacts in the order in which they are given; the first mistake ends it.

    Args:
        threads: of torch for each artefact; by default as many as it has.
        joint_threads: the same for those of joint stages.
    """

    name = "serial"

    def __init__(self, threads: int | None = None, joint_threads: int | None = None) -> None:
        self.threads = Threads.chosen(threads, joint_threads)

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        costs, made = Costs(graph.resources), 0
        costs.expect(artefact for artefact, _ in todo)
        for artefact, state in todo:
            started = time.perf_counter()
            with threads_of_torch(self.threads.of(artefact)):
                made += graph.make(artefact, state, observer)
            costs.learn(artefact, time.perf_counter() - started)
            observer.left(costs.left())
        return made
