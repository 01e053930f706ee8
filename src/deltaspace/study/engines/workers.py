"""Several processes on this machine, each of which makes one artefact after another."""

from __future__ import annotations

import json
import os
import platform
import resource
import secrets
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import arrived, held
from deltaspace.memory import free_bytes
from deltaspace.names import counted
from deltaspace.study.artefact import Artefact
from deltaspace.study.engines.crew import MAX_RETRIES, Crew, Heard, checked_retries, conduct, heard_of
from deltaspace.study.engines.engine import ENGINES, Engine
from deltaspace.study.engines.failures import ArtefactsFailed
from deltaspace.study.engines.schedule import Job
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import State
from deltaspace.study.graph import Graph
from deltaspace.study.observer import Observer, Worker

# What a worker runs: it finds modules where this process does, and a Ctrl-C of the terminal ends it quietly until it is ready.
_PROGRAM = """
import json, signal, sys
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.path[:] = json.loads(sys.argv[1])
from deltaspace.study.engines._worker import main
main(int(sys.argv[2]))
"""
_WAIT_SECONDS = 1.0
_READ = 1 << 16


@ENGINES.register
class Workers(Engine):
    """Processes on this machine. Numbers depend on the number of threads, never on that of workers.

    They are processes of Python of their own, not a pool of loky or of the standard library: a pool ends as a whole with one
    killed worker, does not tell which task it had, and (the standard library's) runs the user's program again in each process.

    Args:
        count: how many; by default as many as cores and memory allow.
        threads: of torch for each artefact.
        joint_threads: the same for one of a joint stage, during which nothing else is made if they are more than all other
            workers' together; by default torch's own number.
        max_retries: how often an artefact is begun again whose worker died, or that ended in an error that is no user's mistake.

    Example:
        >>> engine = Workers(2)  # run_study(recipe, out, engine=engine)
        >>> engine.threads.each
        1
    """

    name = "workers"

    def __init__(
        self, count: int | None = None, threads: int = 1, joint_threads: int | None = None, max_retries: int = MAX_RETRIES
    ) -> None:
        if count is not None and count < 1:
            raise DeltaspaceError(f"{count} workers cannot be", expected="1 or more")
        self.count, self.max_retries = count, checked_retries(max_retries)
        self.threads = Threads.chosen(threads, joint_threads)
        self._crew: _Processes | None = None
        self._kept = False

    def __enter__(self) -> Workers:
        self._kept = True
        return self

    def close(self) -> None:
        """See `Engine.close`."""
        self._kept = False
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def run(self, graph: Graph, todo: Sequence[tuple[Artefact, State]], observer: Observer) -> int:
        """See `Engine.run`."""
        if not todo:
            return 0
        if self._crew is None:
            self._crew = _Processes(_count(self.count, self.threads, graph, observer), self.threads.each)
        self._crew.open()
        whole = False
        try:
            made = conduct(self._crew, graph, todo, observer, self.threads, self.max_retries)
            whole = True
        finally:
            if not whole or not self._kept:
                crew, self._crew = self._crew, None
                # After a signal, or an observer's exception, what the workers compute is saved at the step where they are.
                crew.close(interrupt=not whole)
        return made


def _count(asked: int | None, threads: Threads, graph: Graph, observer: Observer) -> int:
    """How many workers there are to be; says so where that is not what was asked for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = asked or max(1, cores // threads.each)
    # This process has loaded the same and run a batch of every task: a worker takes about as much.
    device = graph.resources.backbone.device
    each = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak_bytes()
    fitting = max(1, free_bytes(device) * max(1, _devices()) // max(1, each))
    count = min(wanted, fitting)
    size = f"each takes about {each / 1e9:.1f} GB, and {free_bytes(device) / 1e9:.1f} GB are free"
    if asked is None:
        observer.note(f"{counted(count, 'worker')} of {counted(threads.each, 'thread')}: {counted(cores, 'core')}; {size}")
    elif count < wanted:
        observer.note(f"{counted(count, 'worker')} in place of {asked}: {size}")
    return count


def peak_bytes() -> int:
    """The most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def worker_environment(number: int, threads: int, devices: int) -> dict[str, str]:
    """The environment of a worker: its threads wait without taking time from others, and GPUs are dealt out in turn.

    Args:
        number: the worker's, from 0.
        threads: of an artefact.
        devices: how many GPUs there are.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    if devices > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(devices)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % devices]
    return environment


class _Process:
    """A worker's process, from here."""

    def __init__(self, number: int, threads: int) -> None:
        self.number = number
        self.job: Job | None = None
        self._read = b""
        self.socket, theirs = socket.socketpair()
        with theirs:
            modules = json.dumps([str(path) for path in sys.path])
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, modules, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # What a library prints is no result.
                stdout=2,
                env=worker_environment(number, threads, _devices()),
            )
        self.worker = Worker(platform.node(), self.process.pid)

    def send(self, said: object) -> None:
        # Where it has just died, its end is heard next.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall((json.dumps(said) + "\n").encode())

    def receive(self) -> list[dict[str, Any]] | None:
        """What it said since; None where it has ended."""
        try:
            read = self.socket.recv(_READ)
        except ConnectionResetError:
            read = b""
        *lines, self._read = (self._read + read).split(b"\n")
        said = [json.loads(line) for line in lines]
        return said if read or said else None


class _Processes(Crew):
    """The processes of `Workers`; a dead one is replaced when there is something to do for it.

    Args:
        count: how many at most.
        threads: of an artefact.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._count, self._threads = count, threads
        self._processes: list[_Process] = []
        self._selector = selectors.DefaultSelector()
        self._run = ""
        self._stillborn = 0

    def open(self) -> None:
        """What comes next is of another run."""
        self._run = secrets.token_hex(8)

    @property
    def busy(self) -> int:
        return sum(process.job is not None for process in self._processes)

    def has_room(self, job: Job) -> bool:
        used = [process.job.threads for process in self._processes if process.job is not None]
        return not used or (len(used) < self._count and sum(used) + job.threads <= self._count * self._threads)

    def give(self, job: Job, study: str, path: str) -> None:
        process = next((idle for idle in self._processes if idle.job is None), None) or self._started()
        process.job = job
        asked = {"fingerprint": job.fingerprint, "state": job.state, "threads": job.threads}
        process.send({"run": self._run, "study": study, "path": path, **asked})

    def listen(self) -> Iterator[Heard]:
        for key, _ in self._selector.select(_WAIT_SECONDS):
            process: _Process = key.data
            said = process.receive()
            if said is None:
                yield from self._ended(process)
            for line in said or ():
                if line["what"] == "ready":
                    self._stillborn = 0
                elif (job := process.job) is not None:
                    heard = heard_of(job, process.worker, line)
                    process.job = None if heard.last else job
                    yield heard

    def close(self, *, interrupt: bool = False) -> None:
        """End all, and wait for that.

        Args:
            interrupt: at the step where they are, as the signal that came asks this process; else they have nothing to do.
        """
        with held():
            for process in self._processes:
                if interrupt:
                    process.process.send_signal(arrived() or signal.SIGTERM)
                process.send(None)
            for process in self._processes:
                process.process.wait()
                process.socket.close()
            self._processes.clear()
            self._selector.close()

    def _started(self) -> _Process:
        with held():  # no process without somebody who knows of it
            numbers = {process.number for process in self._processes}
            number = next(number for number in range(self._count) if number not in numbers)
            process = _Process(number, self._threads)
            self._processes.append(process)
            self._selector.register(process.socket, selectors.EVENT_READ, process)
        return process

    def _ended(self, process: _Process) -> Iterator[Heard]:
        with held():
            code = process.process.wait()
            self._selector.unregister(process.socket)
            process.socket.close()
            self._processes.remove(process)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._stillborn += 1
        if self._stillborn > self._count + MAX_RETRIES:
            raise ArtefactsFailed(f"workers end before they begin: the last one {how}")
        if process.job is not None:
            why = f"its worker, {process.worker}, {how}"
            if code == -signal.SIGKILL:
                why += ": is there enough memory?"
            yield Heard(process.job, process.worker, "lost", why)
