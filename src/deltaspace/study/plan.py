"""What a run would make, and about how long that takes and how large it becomes: nothing is made, written or locked.

Time and disk of a stage come from the study's own artefacts of it that are there; where there are none yet, from what the stage
says of its work, times what one step of the recipe's own model and deltas takes here: measured now, a few batches forward and
back. Trainings may stop earlier than their last step, so that is the most that they take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch

from deltaspace.deltas import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.study.artefact import Artefact
from deltaspace.study.files import SWEEP
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import read_history
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES
from deltaspace.study.work import Work
from deltaspace.tasks import Task

Basis = Literal["measured", "one step", "unknown"]
# A file's header and metadata, which is all of a score's JSON file, and the bytes of a number; the unit of `stat.st_blocks`.
_HEADER, _NUMBER, _BLOCK = 4096, 4, 512
# Timed passes; one before them is not counted.
_PASSES = 2


@dataclass
class StagePlan:
    """What a run would make of one stage.

    Args:
        stage: its title.
        present: how many are there and valid.
        todo: how many would be made.
        seconds: what these take, one after another; None where nobody knows.
        bytes: how large their files become; None where nobody knows.
        basis: from what that is known: artefacts of the study that were `measured`, `one step` measured now, or it is `unknown`.
    """

    stage: str
    present: int = 0
    todo: int = 0
    seconds: float | None = 0.0
    bytes: float | None = 0.0
    basis: Basis = "measured"


@dataclass
class Plan:
    """What a run would make.

    Args:
        out: the study's folder, or the sweep's.
        stages: in their order.
        steps: delta -> seconds of one example that is trained on and of one that is read, where that was measured now.
    """

    out: str
    stages: list[StagePlan]
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """How many artefacts would be made."""
        return sum(stage.todo for stage in self.stages)

    @property
    def seconds(self) -> float:
        """What all of it takes, as far as that is known."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def bytes(self) -> float:
        """How large all of it becomes, as far as that is known."""
        return sum(stage.bytes or 0.0 for stage in self.stages)


def plan_study(recipe: Recipe, out: Path | str, *, until: str | None = None, verify: bool = False) -> Plan:
    """What `run_study` would make.

    Args:
        recipe: the study's.
        out: its folder; need not exist.
        until: the last stage; all of them by default.
        verify: read the tensors of all that is there too: what is damaged inside would be made anew.

    Raises:
        DeltaspaceError: as `run_study`, before it makes anything.
    """
    out = Path(out)
    if (out / SWEEP).exists():
        raise DeltaspaceError(f"{out} is a sweep", expected="a study's folder, or a new one", mend="choose another --out")
    return planned(out, [out], [PlannedStudy(recipe, out, until, verify)])


class PlannedStudy:
    """A study that would be run.

    Args:
        recipe: the study's.
        out: its folder; need not exist.
        until: the last stage; all of them by default.
        verify: read tensors too.

    Raises:
        DeltaspaceError: the folder is not a study's, or there is no such model or task.
    """

    def __init__(self, recipe: Recipe, out: Path, until: str | None, verify: bool = False) -> None:
        folder = Folder(out)
        folder.check_free()
        self.resources, self.verify = Resources(recipe, folder), verify
        self.graph = Graph(self.resources)
        self.artefacts = self.graph.order(self.graph.wanted(until))


def planned(out: Path, folders: Sequence[Path], studies: Iterable[PlannedStudy]) -> Plan:
    """The plan of one study, or of several together: an artefact that several have is made once.

    Args:
        out: where they are.
        folders: theirs, in which artefacts are measured.
        studies: one after another; none is kept.
    """
    stages: dict[str, StagePlan] = {}
    counted: set[tuple[str, str]] = set()
    costs, steps = _Measured(), _Steps()
    for folder in folders:
        costs.learn(Folder(folder))
    for study in studies:
        for artefact in study.artefacts:
            stage = stages.setdefault(artefact.stage, StagePlan(STAGES[artefact.stage].title))
            if (key := (artefact.path, study.graph.fingerprint(artefact))) in counted:
                continue
            counted.add(key)
            if study.graph.state(artefact, tensors=study.verify) == "valid":
                stage.present += 1
            else:
                stage.todo += 1
                _add(stage, artefact, study.resources, costs, steps)
    return Plan(str(out), [stages[name] for name in STAGES if name in stages], steps.told)


def _add(stage: StagePlan, artefact: Artefact, resources: Resources, costs: _Measured, steps: _Steps) -> None:
    """Count what one artefact takes."""
    seconds, size = costs.seconds_of(artefact.stage), costs.bytes_of(artefact.stage)
    if seconds is None or size is None:
        steps.share(resources)
        work = STAGES[artefact.stage].work(resources, artefact.key)
        if work is None:
            stage.basis, stage.seconds, stage.bytes = "unknown", None, None
            return
        stage.basis = "one step"
        seconds = steps.seconds(resources, work) if seconds is None else seconds
        size = _HEADER + _NUMBER * work.numbers if size is None else size
    stage.seconds = None if stage.seconds is None else stage.seconds + seconds
    stage.bytes = None if stage.bytes is None else stage.bytes + size


class _Measured:
    """What artefacts of some studies took, and how large they are.

    Times are those of the studies' history; of a stage with artefacts that were imported, those that the others say of their own
    training, as taking a file in tells nothing of that.
    """

    def __init__(self) -> None:
        self._history: dict[str, list[float]] = {}
        self._trained: dict[str, list[float]] = {}
        self._imported: set[str] = set()
        self._sizes: dict[str, list[int]] = {}

    def learn(self, folder: Folder) -> None:
        """Take in what a study's history and files say; nothing, where there are none yet."""
        titles = {stage.title: name for name, stage in STAGES.items()}
        for record in read_history(folder.path):
            for title, count in record.artefacts.items():
                if (name := titles.get(title)) is not None and count:
                    self._history.setdefault(name, []).extend([record.seconds.get(title, 0.0) / count] * count)
        for name in STAGES:
            for path in folder.files(name):
                try:
                    said = folder.metadata(path)
                except DeltaspaceError:  # damaged: it is among those that would be made
                    continue
                self._sizes.setdefault(name, []).append(_on_disk(folder.path / path))
                if said.get("imported") is not None:
                    self._imported.add(name)
                elif isinstance(row := said.get("row"), dict) and isinstance(seconds := row.get("seconds"), float) and seconds:
                    self._trained.setdefault(name, []).append(seconds)

    def seconds_of(self, stage: str) -> float | None:
        times = (self._trained if stage in self._imported else self._history).get(stage)
        return fmean(times) if times else None

    def bytes_of(self, stage: str) -> float | None:
        return fmean(self._sizes[stage]) if stage in self._sizes else None


def _on_disk(path: Path) -> int:
    """What a file takes there: a small one, as that of a score, a whole block."""
    held = path.stat()
    return max(held.st_size, _BLOCK * held.st_blocks)


class _Steps:
    """What one example takes, forward and back or forward alone, by each delta on each kind of task; measured when asked."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], tuple[float, float]] = {}
        self._loaded: Resources | None = None
        self.told: dict[str, tuple[float, float]] = {}

    def share(self, resources: Resources) -> None:
        """Have studies of one PLM load it once."""
        if self._loaded is not None:
            resources.share(self._loaded)
        self._loaded = resources

    def seconds(self, resources: Resources, work: Work) -> float:
        """What some work takes."""
        if work.task is None:
            return 0.0
        task, total = resources.tasks[work.task], 0.0
        for delta in {*work.trained, *work.read}:
            trained, read = self._of(resources, delta, task)
            total += work.trained.get(delta, 0) * trained + work.read.get(delta, 0) * read
        return total

    def _of(self, resources: Resources, delta: str, task: Task) -> tuple[float, float]:
        # A rival's own delta is like those that are there.
        name = delta if delta in resources.recipe.deltas else next(iter(resources.recipe.deltas))
        key = (name, task.ranked)
        if key not in self._known:
            attached = resources.attached(name, resources.recipe.seed[0])
            self._known[key] = self.told[name] = timed_step(attached, task, resources.recipe.train.batch_size)
        return self._known[key]


def timed_step(attached: AttachedDelta, task: Task, size: int) -> tuple[float, float]:
    """Seconds that one example takes in a batch: forward and back, and forward alone as it is scored.

    Args:
        attached: the delta on its PLM.
        task: whose first examples are taken.
        size: of the batch.
    """
    family = attached.backbone.family
    trained = family.collate(family.encode(task, task.train[:size]))
    read = family.collate(family.encode(task, task.test[:size]))
    vector = attached.initial.clone().requires_grad_()

    def train() -> None:
        vector.grad = None
        attached.loss(vector, trained).backward()

    def evaluate() -> None:
        with torch.no_grad():
            attached.evaluate(attached.initial, read)

    def measured(once: Callable[[], None], count: int) -> float:
        times = []
        for _ in range(1 + _PASSES):
            started = time.perf_counter()
            once()
            if attached.backbone.device.type == "cuda":
                torch.cuda.synchronize(attached.backbone.device)
            times.append(time.perf_counter() - started)
        return min(times[1:]) / count

    return measured(train, len(trained.items)), measured(evaluate, len(read.items))
