"""What an engine is: it makes artefacts whose inputs are there, or will be by the time it comes to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from deltaspace.study.artefact import Artefact
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer


@runtime_checkable
class Engine(Protocol):
    """Makes the artefacts of a study. Their paths and fingerprints are the result; nothing else passes between processes."""

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """Make artefacts; each stands behind those that it is made from.

        Args:
            graph: the study.
            todo: artefacts that are not valid, with their state.
            observer: told of each.

        Returns:
            How many were made; those that were brought back do not count.

        Raises:
            DeltaspaceError: a user's mistake; what was made until then is kept.
        """
