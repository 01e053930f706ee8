"""Several studies as one graph: what they have in common is made once, and everything may be made beside everything else."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from deltaspace.study.artefact import Artefact, MadeFrom
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer


class Graphs(Graph):
    """The artefacts of a parameter sweep: their paths begin with the name of the study that they are of.

    What a study wants and the shared study wants too, it takes from there as soon as that is made.

    Args:
        shared: the name of the shared study.
        studies: each by the name of its folder; all these folders lie in one.
        asked: what is asked for of each of them, behind what it is made from.
    """

    goes_on: ClassVar[bool] = True

    def __init__(self, shared: str, studies: Mapping[str, Graph], asked: Mapping[str, Sequence[Artefact]]) -> None:
        super().__init__(studies[shared].resources)
        self._shared, self.studies, self.asked = shared, studies, asked
        self._last = shared
        common = {artefact.path: artefact for artefact in asked[shared]}
        # Of each shared artefact, by its path in its study: who takes it.
        self._takers: dict[str, list[str]] = {path: [] for path in common}
        self._taken: set[tuple[str, str]] = set()
        for name, graph in studies.items():
            for artefact in asked[name] if name != shared else ():
                path = artefact.path
                if path in common and studies[shared].fingerprint(common[path]) == graph.fingerprint(artefact):
                    self._takers[path].append(name)
                    self._taken.add((name, path))

    def wanted(self, until: str | None = None) -> Iterator[Artefact]:
        """All of all studies, the shared one's first."""
        for artefact in self.asked[self._shared]:
            yield self._among_all(self._shared, artefact)
        for name, artefacts in self.asked.items():
            for artefact in artefacts:
                if name != self._shared and (name, artefact.path) not in self._taken:
                    yield self._among_all(name, artefact)

    def made_from(self, artefact: Artefact) -> MadeFrom:
        """See `Graph.made_from`."""
        if artefact not in self._made_from:
            name, inside = self.inside(artefact)
            made_from = self.studies[name].made_from(inside)
            parts = tuple(self._among_all(name, part) for part in made_from.artefacts)
            self._made_from[artefact] = replace(made_from, artefacts=parts)
        return self._made_from[artefact]

    def fingerprint(self, artefact: Artefact) -> str:
        """See `Graph.fingerprint`: the one that it has in its study."""
        name, inside = self.inside(artefact)
        return self.studies[name].fingerprint(inside)

    def state(self, artefact: Artefact, *, tensors: bool = False) -> State:
        """See `Graph.state`."""
        name, inside = self.inside(artefact)
        return self.studies[name].state(inside, tensors=tensors)

    def alike(self, artefact: Artefact) -> Hashable:
        """See `Graph.alike`: those of one study."""
        name, inside = self.inside(artefact)
        return self.studies[name].alike(inside)

    def make_each(self, artefacts: Sequence[tuple[Artefact, State]], observer: Observer) -> dict[Artefact, bool]:
        """See `Graph.make_each`."""
        name, _ = self.inside(artefacts[0][0])
        among = {self.inside(artefact)[1]: artefact for artefact, _ in artefacts}
        inside = [(self.inside(artefact)[1], state) for artefact, state in artefacts]
        outcome = self._entered(name).make_each(inside, _Renaming(observer, among))
        return {among[artefact]: made for artefact, made in outcome.items()}

    def _entered(self, name: str) -> Graph:
        if name != self._last:
            # Subspaces, which only that study has.
            self.studies[self._last].resources.forget()
            self._last = name
        return self.studies[name]

    def is_claimed(self, artefact: Artefact) -> bool:
        """See `Graph.is_claimed`."""
        name, inside = self.inside(artefact)
        return self.studies[name].is_claimed(inside)

    def settled(self, artefact: Artefact) -> None:
        """Give a shared artefact to the studies that take it."""
        name, inside = self.inside(artefact)
        if name == self._shared:
            self._give(inside)

    def give_valid(self) -> None:
        """Give all shared artefacts that are there: a run may have been killed between one and the studies that take it."""
        for artefact in self.asked[self._shared]:
            if self.studies[self._shared].state(artefact) == "valid":
                self._give(artefact)

    def located(self, artefact: Artefact) -> tuple[str, str]:
        """See `Graph.located`."""
        name, inside = self.inside(artefact)
        return self.studies[name].located(inside)

    def folders(self) -> list[Path]:
        """See `Graph.folders`."""
        return [graph.resources.folder.path for graph in self.studies.values()]

    def _give(self, artefact: Artefact) -> None:
        source = self.studies[self._shared].resources.folder
        for name in self._takers[artefact.path]:
            graph = self.studies[name]
            if (state := graph.state(artefact)) != "valid":
                if state == "stale":
                    graph.resources.folder.keep(artefact.path)
                graph.resources.folder.take(source, [artefact.path])

    def _among_all(self, name: str, artefact: Artefact) -> Artefact:
        study = self._shared if (name, artefact.path) in self._taken else name
        return replace(artefact, path=f"{study}/{artefact.path}")

    def inside(self, artefact: Artefact) -> tuple[str, Artefact]:
        """The name of the study that it is of, and the artefact as that study knows it."""
        name, _, path = artefact.path.partition("/")
        return name, replace(artefact, path=path)


class _Renaming(Observer):
    """Tells an observer of artefacts by their paths among all."""

    def __init__(self, observer: Observer, among: Mapping[Artefact, Artefact]) -> None:
        self._observer, self._among = observer, among

    def start(self, artefact: Artefact, reason: State) -> None:
        self._observer.start(self._among[artefact], reason)

    def progress(self, step: int, steps: int, text: str) -> None:
        self._observer.progress(step, steps, text)

    def end(self, artefact: Artefact) -> None:
        self._observer.end(self._among[artefact])

    def note(self, text: str) -> None:
        self._observer.note(text)
