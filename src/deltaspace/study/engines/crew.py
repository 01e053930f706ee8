"""Whoever makes artefacts elsewhere is given them, and what is heard of that is told: the same for processes and for Ray."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import check
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.failures import Failure, in_one_line, tell_failures
from deltaspace.study.engines.schedule import Job, Schedule
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer, Worker

# Between two looks at what other runs make, where there is nothing else to do.
WAIT_SECONDS = 0.2
# How often an artefact is begun again, unless somebody says otherwise.
MAX_RETRIES = 2


@dataclass(frozen=True)
class Heard:
    """Something of a job.

    Args:
        job: of which.
        worker: from whom.
        what: `start` and `progress` as an observer is told, a `note`; `end`: it is there, made or brought back; `elsewhere`:
            another run makes it; `mistake`: a user's; `error`: of deltaspace; `lost`: its worker died, or its machine.
        text: of progress and notes; why, in one line, where it is not there.
        steps: done and in all.
        made: whether it was made.
        seconds: that it took.
        mistake: the user's.
        details: a traceback.
    """

    job: Job
    worker: Worker
    what: Literal["start", "progress", "note", "end", "elsewhere", "mistake", "error", "lost"]
    text: str = ""
    steps: tuple[int, int] = (0, 0)
    made: bool = False
    seconds: float = 0.0
    mistake: DeltaspaceError | None = None
    details: str = ""

    @property
    def last(self) -> bool:
        """Whether nothing more comes of this try."""
        return self.what in ("end", "elsewhere", "mistake", "error", "lost")


def heard_of(job: Job, worker: Worker, said: Mapping[str, Any]) -> Heard:
    """What a worker said of a job: `making.said_of`, or of its way."""
    if said["what"] == "mistake":
        mistake = DeltaspaceError(said["error"], found=said["found"], expected=said["expected"], mend=said["mend"])
        return Heard(job, worker, "mistake", in_one_line(mistake), mistake=mistake)
    given = {name: said[name] for name in ("text", "made", "seconds", "details") if name in said}
    return Heard(job, worker, said["what"], steps=tuple(said.get("steps", (0, 0))), **given)


def checked_retries(count: int) -> int:
    """How often an artefact is to be begun again, where that can be.

    Raises:
        DeltaspaceError: it is below 0.
    """
    if count < 0:
        raise DeltaspaceError(f"max retries: {count} cannot be", expected="0 (nothing is begun again) or more")
    return count


class Crew(ABC):
    """Makes artefacts elsewhere."""

    @abstractmethod
    def has_room(self, job: Job) -> bool:
        """Whether the job can be begun now."""

    @abstractmethod
    def give(self, job: Job, study: str, path: str) -> None:
        """Begin a job for which there is room.

        Args:
            job: which.
            study: the folder of its study.
            path: the artefact's, there.
        """

    @abstractmethod
    def listen(self) -> Iterator[Heard]:
        """Wait a moment for something to happen, and say what did."""

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many jobs are under way."""


def conduct(
    crew: Crew,
    graph: Graph,
    todo: Sequence[tuple[Artefact, State]],
    observer: Observer,
    threads: Threads,
    max_retries: int,
) -> int:
    """Have a crew make artefacts, as `Engine.run` does.

    A user's mistake is not tried again; anything else is, `max_retries` times. All that is not made from what failed goes on.

    Raises:
        DeltaspaceError: what failed were users' mistakes.
        ArtefactsFailed: not only.
    """
    schedule = Schedule(graph, todo, Costs(graph.resources, graph.folders()), threads)
    failures: list[Failure] = []
    made = 0
    # What another run makes: it is asked for again when that has let go of it.
    elsewhere: list[Job] = []
    while schedule.left:
        while (job := schedule.first()) is not None and crew.has_room(job):
            crew.give(schedule.begin(), *graph.located(job.artefact))
        for job in [job for job in elsewhere if not graph.is_claimed(job.artefact)]:
            elsewhere.remove(job)
            if graph.state(job.artefact, tensors=job.state == "damaged") == "valid":
                graph.settled(job.artefact)
                schedule.done(job, None)
                observer.elsewhere(job.artefact)
            else:
                schedule.again(job)
        if not crew.busy:
            time.sleep(WAIT_SECONDS)
            check()
            continue
        for heard in crew.listen():
            job = heard.job
            artefact = job.artefact
            observer.worker(heard.worker)
            if heard.what == "lost" and graph.state(artefact) == "valid":
                # It was written, and only the word of it is lost.
                made += 1
                graph.settled(artefact)
                schedule.done(job, None)
                observer.end(artefact)
            elif heard.what == "start":
                observer.start(artefact, job.state)
            elif heard.what == "progress":
                observer.progress(*heard.steps, heard.text)
            elif heard.what == "elsewhere":
                schedule.put_off(job)
                elsewhere.append(job)
            elif heard.what == "note":
                observer.note(heard.text)
            elif heard.what == "end":
                made += heard.made
                graph.settled(artefact)
                schedule.done(job, heard.seconds)
                if heard.made:
                    observer.end(artefact)
                else:
                    observer.elsewhere(artefact)
                observer.left(schedule.costs.left() / max(1, crew.busy))
            elif heard.mistake is None and job.tries <= max_retries:
                observer.failed(artefact, heard.text, again=True)
                schedule.again(job)
            else:
                why = heard.text if job.tries == 1 else f"{heard.text} (begun {job.tries} times)"
                observer.failed(artefact, why, again=False)
                without = schedule.failed(job)
                failures.append(Failure(artefact.path, why, len(without), heard.mistake, heard.details))
    tell_failures(failures)
    return made
