"""One artefact after another, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

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
        side_by_side: of artefacts that are alike (`Stage.alike`), so many are made in common passes of the model.

    Raises:
        DeltaspaceError: fewer than one side by side.
    """

    name = "serial"

    def __init__(self, threads: int | None = None, joint_threads: int | None = None, side_by_side: int = 1) -> None:
        if side_by_side < 1:
            raise DeltaspaceError(f"{side_by_side} trainings side by side cannot be", expected="1 or more")
        self.threads, self.side_by_side = Threads.chosen(threads, joint_threads), side_by_side

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        costs, made = Costs(graph.resources, graph.folders()), 0
        costs.expect(artefact for artefact, _ in todo)
        # What cannot be made, and of each mistake the artefacts that are made from what it was in.
        lost: dict[Artefact, list[Artefact]] = {}
        failures: list[tuple[Artefact, DeltaspaceError, list[Artefact]]] = []
        elsewhere: set[Artefact] = set()
        # What was made beside another one, and what is to be made alone, since with others there was a mistake.
        beside: set[Artefact] = set()
        alone: set[Artefact] = set()
        later = list(todo)
        while later:
            now, later = later, []
            waiting: set[Artefact] = set()
            for index, (artefact, state) in enumerate(now):
                if artefact in beside:
                    continue
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
                        others = [] if artefact in alone else self._alike(graph, now[index:], {*waiting, *lost, *beside, *alone})
                        with threads_of_torch(self.threads.of(artefact)):
                            outcome = _made(graph, [(artefact, state), *others], observer)
                        seconds = (time.perf_counter() - started) / max(1, len(outcome))
                        made += sum(outcome.values())
                        for other, here in outcome.items():
                            if not here:
                                observer.elsewhere(other)
                        alone |= {other for other, _ in others if other not in outcome}
                        beside |= set(outcome)
                        for other in outcome.keys() - {artefact}:
                            graph.settled(other)
                            costs.learn(other, seconds)
                        if artefact not in outcome:
                            raise ClaimedElsewhere(artefact.path)
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
            if later and len(later) == len(now):
                time.sleep(WAIT_SECONDS)
                check()
        tell_failures(
            [Failure(failed.path, in_one_line(mistake), len(without), mistake) for failed, mistake, without in failures]
        )
        return made

    def _alike(
        self, graph: Graph, todo: Sequence[tuple[Artefact, State]], excluded: set[Artefact]
    ) -> list[tuple[Artefact, State]]:
        """Of those that come after the first, such as can be made with it now."""
        if self.side_by_side == 1 or (alike := graph.alike(todo[0][0])) is None:
            return []
        missing = {artefact for artefact, _ in todo} | excluded
        fitting: list[tuple[Artefact, State]] = []
        for artefact, state in todo[1:]:
            if len(fitting) + 1 == self.side_by_side:
                break
            if artefact in excluded or artefact.stage != todo[0][0].stage or graph.alike(artefact) != alike:
                continue
            if missing.isdisjoint(graph.made_from(artefact).artefacts) and not graph.is_claimed(artefact):
                fitting.append((artefact, state))
        return fitting


def _made(graph: Graph, artefacts: Sequence[tuple[Artefact, State]], observer: Observer) -> dict[Artefact, bool]:
    """What could be made. Of several the first alone, where one has a mistake (told when that one is made alone), or where all
    together need more memory than there is.
    """
    if len(artefacts) > 1:
        try:
            return graph.make_each(artefacts, observer)
        except DeltaspaceError as mistake:
            why = in_one_line(mistake)
        except torch.OutOfMemoryError:
            why = "they need more memory than there is"
        observer.note(f"{artefacts[0][0].path} and {len(artefacts) - 1} beside it are made one by one: {why}")
    return graph.make_each(artefacts[:1], observer)
