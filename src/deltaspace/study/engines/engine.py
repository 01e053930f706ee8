"""What an engine is: it makes artefacts whose inputs are there, or will be by the time it comes to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from deltaspace.registry import Registry
from deltaspace.study.artefact import Artefact
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer


class Engine(ABC):
    """Makes the artefacts of a study. Their paths and fingerprints are the result; nothing else passes between processes.

    `name` is what the command line and `run_study(…, engine="name")` call it; an engine that is asked for by name is made without
    arguments. It may serve several runs one after another.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """Make artefacts; each stands behind those that it is made from. `graph.settled` is told of each that is there.

        Args:
            graph: the study, whose lock is held; or those of a parameter sweep, as one graph.
            todo: artefacts that are not valid, with their state.
            observer: told of each.

        Returns:
            How many were made; those that were brought back do not count.

        Raises:
            DeltaspaceError: a user's mistake; what was made until then is kept.
        """

    def __enter__(self) -> Engine:
        """In the block, what one run needs may be kept for the next."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most engines keep nothing
        """End what was kept for further runs."""


ENGINES: Registry[type[Engine]] = Registry("engine", Engine, "deltaspace.engines", "deltaspace.study.engines")
