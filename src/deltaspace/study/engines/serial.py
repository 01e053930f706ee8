"""One artefact after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from deltaspace.study.folder import State
from deltaspace.study.graph import Artefact, Graph
from deltaspace.study.observer import Observer


class Serial:
    """Makes artefacts in the order in which they are given."""

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        return sum(graph.make(artefact, state, observer) for artefact, state in todo)
