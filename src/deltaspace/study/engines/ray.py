"""The machines of a Ray cluster: one task for each artefact, whose files lie in a folder that all of them share."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.interruption import SIGNALS, held
from deltaspace.precision import VARIABLE
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines._ray_task import Board, make
from deltaspace.study.engines.crew import MAX_RETRIES, Crew, Heard, checked_retries, conduct, heard_of
from deltaspace.study.engines.engine import ENGINES, Engine
from deltaspace.study.engines.schedule import Job
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer, Worker

if TYPE_CHECKING:
    from ray import ObjectRef

AUTO, LOCAL = "auto", "local"
_WAIT_SECONDS = 0.5
# Nothing large goes through it: results are files.
_STORE_BYTES = 200 << 20


@ENGINES.register
class Ray(Engine):
    """Tasks of Ray core. What is lost with a process or a machine is begun again elsewhere; only paths and words go through
    Ray's object store.

    Args:
        address: `auto` for the cluster that is there, `local` for one of this machine that ends with the run, or a cluster's
            address. A connection that is there already is taken as it is.
        cpus_per_task: that each artefact takes of a node.
        gpus_per_task: the same; a part of one GPU may be taken.
        threads: of torch for each artefact; `cpus_per_task` by default.
        joint_threads: the same for one of a joint stage, which takes as many CPUs; by default torch's own number here.
        max_retries: as in `Workers`.
    """

    name = "ray"

    # It has as many parameters as clusters differ in.
    def __init__(
        self,
        address: str = AUTO,
        cpus_per_task: float = 1.0,
        gpus_per_task: float = 0.0,
        threads: int | None = None,
        joint_threads: int | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        if cpus_per_task <= 0 or gpus_per_task < 0:
            raise DeltaspaceError(
                "a task cannot take so much",
                found=f"{cpus_per_task} CPUs, {gpus_per_task} GPUs",
                expected="more than 0 CPUs, 0 GPUs or more",
            )
        if find_spec("ray") is None:
            raise DeltaspaceError("Ray is not installed", mend="pip install 'deltaspace[ray]'")
        self.address, self.cpus_per_task, self.gpus_per_task = address, float(cpus_per_task), float(gpus_per_task)
        self.threads = Threads.chosen(threads or max(1, int(cpus_per_task)), joint_threads)
        self.max_retries = checked_retries(max_retries)
        self._kept = self._connected = False

    def __enter__(self) -> Ray:
        self._kept = True
        return self

    def close(self) -> None:
        """See `Engine.close`."""
        import ray

        self._kept = False
        if self._connected:
            ray.shutdown()
            self._connected = False

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        if not todo:
            return 0
        self._connect()
        crew, whole = _Tasks(self), False
        observer.note(crew.described())
        try:
            made = conduct(crew, graph, todo, observer, self.threads, self.max_retries)
            whole = True
        finally:
            try:
                crew.close(interrupt=not whole)
            finally:
                if not self._kept:
                    self.close()
        return made

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        here = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in SIGNALS if here}
        options: dict[str, Any] = {"log_to_driver": False}
        if self.address == LOCAL:
            options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        else:
            options["address"] = self.address
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DeltaspaceError(
                f"there is no Ray cluster at {self.address}",
                found=first_line(error),
                expected=f"{AUTO}, {LOCAL}, or the address of a cluster that runs",
                mend="start one: ray start --head",
            ) from None
        self._connected = True
        # Ray puts its own handler in place of ours, which saves what is computed.
        with held():
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)


class _Tasks(Crew):
    """The tasks of one run."""

    def __init__(self, engine: Ray) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._engine, self._run = ray, engine, secrets.token_hex(8)
        self._task = ray.remote(make)
        # It stays where the run is: other nodes may go.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._given: dict[ObjectRef[Any], tuple[Job, float]] = {}
        # Jobs by what their tasks call them, and who works on each.
        self._told_as: dict[str, Job] = {}
        self._workers: dict[str, Worker] = {}

    def described(self) -> str:
        """Where tasks run."""
        nodes = self._nodes()
        cpus = sum(node.get("CPU", 0.0) for node in nodes)
        return f"Ray: {len(nodes)} nodes with {cpus:g} CPUs and {sum(node.get('GPU', 0.0) for node in nodes):g} GPUs"

    @property
    def busy(self) -> int:
        return len(self._given)

    def has_room(self, job: Job) -> bool:
        if not self._given:
            return True
        nodes, used = self._nodes(), sum(cpus for _, cpus in self._given.values())
        fits = used + self._cpus(job) <= sum(node.get("CPU", 0.0) for node in nodes)
        if each := self._engine.gpus_per_task:
            fits = fits and (len(self._given) + 1) * each <= sum(node.get("GPU", 0.0) for node in nodes)
        return fits

    def give(self, job: Job, study: str, path: str) -> None:
        asked = {"fingerprint": job.fingerprint, "state": job.state, "threads": job.threads}
        asked |= {"run": self._run, "study": study, "path": path}
        cpus = self._cpus(job)
        options = {"num_cpus": cpus, "num_gpus": self._engine.gpus_per_task, "max_retries": 0, "name": job.artefact.path}
        task = self._task.options(**options, scheduling_strategy="SPREAD")
        with held():
            told_as = f"{job.artefact.path} {job.tries}"
            self._given[task.remote(asked, told_as, self._board, str(Path.cwd()), os.environ.get(VARIABLE))] = job, cpus
            self._told_as[told_as] = job

    def listen(self) -> Iterator[Heard]:
        ready, _ = self._ray.wait(list(self._given), num_returns=1, timeout=_WAIT_SECONDS)
        if ready:
            ready, _ = self._ray.wait(list(self._given), num_returns=len(self._given), timeout=0)
        for said in self._ray.get(self._board.take.remote()):
            if (job := self._told_as.get(said["of"])) is not None:
                yield from self._begun(job, said)
        for reference in ready:
            job, _ = self._given.pop(reference)
            at = f"{job.artefact.path} {job.tries}"
            del self._told_as[at]
            try:
                said = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                worker = self._workers.pop(at, Worker("an unknown machine", 0))
                yield Heard(
                    job, worker, "lost", f"its task on {worker.host} is lost: {type(error).__name__}: {first_line(error)}"
                )
                continue
            if said.get("made"):
                yield from self._begun(job, {**said, "what": "start"})
            self._workers.pop(at, None)
            yield heard_of(job, Worker(said["host"], said["process"]), said)

    def close(self, *, interrupt: bool) -> None:
        """End what runs at the step where it is, and wait for that."""
        with held():
            if interrupt:
                for reference in self._given:
                    self._ray.cancel(reference, force=False)
                if self._given:
                    self._ray.wait(list(self._given), num_returns=len(self._given), timeout=None)
            self._ray.kill(self._board)

    def _begun(self, job: Job, said: dict[str, Any]) -> Iterator[Heard]:
        """What a task said on its way; that it began is said once, whichever way it is heard first."""
        at, worker = f"{job.artefact.path} {job.tries}", Worker(said["host"], said["process"])
        if at not in self._workers:
            self._workers[at] = worker
            yield Heard(job, worker, "start")
        if said["what"] != "start":
            yield heard_of(job, worker, said)

    def _cpus(self, job: Job) -> float:
        """Of a joint stage's artefact all of its threads, if one node has as many."""
        if job.threads == self._engine.threads.each:
            return self._engine.cpus_per_task
        largest = max((node.get("CPU", 0.0) for node in self._nodes()), default=1.0)
        return min(float(job.threads), largest)

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
