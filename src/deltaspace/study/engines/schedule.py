"""What can be made now, and what of it comes first. No processes, no files: an engine asks, and says what came of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph


@dataclass
class Job:
    """An artefact on its way.

    Args:
        artefact: which.
        state: why it is made.
        fingerprint: of what it is made from.
        threads: to compute it with.
        tries: how often it was begun.
    """

    artefact: Artefact
    state: State
    fingerprint: str
    threads: int
    tries: int = 0


class Schedule:
    """The artefacts that are ready, most work behind them first: an artefact is ready as soon as what it is made from is there.

    The work behind an artefact is its own time and that of the longest chain of artefacts that are made from it.

    Args:
        graph: the study.
        todo: artefacts that are not valid, each behind those that it is made from.
        costs: what they take.
        threads: what they are computed with.
    """

    def __init__(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], costs: Costs, threads: Threads) -> None:
        self.costs = costs
        costs.expect(artefact for artefact, _ in todo)
        self._jobs = [Job(artefact, state, graph.fingerprint(artefact), threads.of(artefact)) for artefact, state in todo]
        positions = {artefact: index for index, (artefact, _) in enumerate(todo)}
        self._index = {artefact.path: index for artefact, index in positions.items()}
        self._behind: list[list[int]] = [[] for _ in todo]
        self._missing = [0] * len(todo)
        for index, (artefact, _) in enumerate(todo):
            for part in graph.made_from(artefact).artefacts:
                if (before := positions.get(part)) is not None:
                    self._behind[before].append(index)
                    self._missing[index] += 1
        self._ended = [False] * len(todo)
        self.left = len(todo)
        self._ready: list[tuple[float, int]] = []
        self._rank([index for index, missing in enumerate(self._missing) if not missing])

    def first(self) -> Job | None:
        """The job to begin next, which stays where it is; None where nothing is ready."""
        return self._jobs[self._ready[0][1]] if self._ready else None

    def begin(self) -> Job:
        """Take the first job."""
        job = self._jobs[heapq.heappop(self._ready)[1]]
        job.tries += 1
        return job

    def again(self, job: Job) -> None:
        """It has to be begun anew."""
        self._push(self._index[job.artefact.path])

    def put_off(self, job: Job) -> None:
        """It was not begun after all; `again` says when it may be."""
        job.tries -= 1

    def done(self, job: Job, seconds: float | None) -> None:
        """It is there, after so long, where that is known; what waited for it alone is ready."""
        index = self._index[job.artefact.path]
        self._end(index)
        if self.costs.learn(job.artefact, seconds):
            self._rank([ready for _, ready in self._ready])
        for behind in self._behind[index]:
            self._missing[behind] -= 1
            if not self._missing[behind] and not self._ended[behind]:
                self._push(behind)

    def failed(self, job: Job) -> list[Artefact]:
        """It will not be there.

        Returns:
            What cannot be made without it.
        """
        index = self._index[job.artefact.path]
        self._end(index)
        self.costs.learn(job.artefact, None)
        without = list(self._all_behind(index))
        for lost in without:
            self._end(lost)
            self.costs.learn(self._jobs[lost].artefact, None)
        return [self._jobs[lost].artefact for lost in without]

    def _all_behind(self, index: int) -> Iterator[int]:
        stack, seen = list(self._behind[index]), set()
        while stack:
            behind = stack.pop()
            if behind not in seen and not self._ended[behind]:
                seen.add(behind)
                stack += self._behind[behind]
                yield behind

    def _end(self, index: int) -> None:
        self._ended[index] = True
        self.left -= 1

    def _push(self, index: int) -> None:
        heapq.heappush(self._ready, (-self._work[index], index))

    def _rank(self, ready: Sequence[int]) -> None:
        """Work out anew what comes first, as more is known of what artefacts take."""
        self._work = [0.0] * len(self._jobs)
        for index in reversed(range(len(self._jobs))):
            longest = max((self._work[behind] for behind in self._behind[index]), default=0.0)
            self._work[index] = self.costs.seconds(self._jobs[index].artefact) + longest
        self._ready = [(-self._work[index], index) for index in ready]
        heapq.heapify(self._ready)
