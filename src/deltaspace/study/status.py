"""What of a study is there, what is being made and where, what failed: while a run is going on, and when none is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deltaspace.study.claims import Claim
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder, State
from deltaspace.study.graph import Graph
from deltaspace.study.history import RunRecord, read_history
from deltaspace.study.live import Live, read_live
from deltaspace.study.lock import holder
from deltaspace.study.points import last_stage
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES
from deltaspace.study.sweep import is_sweep, sweep_graph


@dataclass
class StageStatus:
    """The artefacts of a stage that the recipe asks for.

    Args:
        stage: its title.
        valid: how many are there as they should be.
        missing: how many are not there.
        stale: how many were made from something else than they would be now.
        damaged: how many are not whole.
    """

    stage: str
    valid: int = 0
    missing: int = 0
    stale: int = 0
    damaged: int = 0

    @property
    def wanted(self) -> int:
        """How many the recipe asks for."""
        return self.valid + self.missing + self.stale + self.damaged


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is, or a sweep.

    Args:
        study: its folder.
        stages: what is there of each.
        holder: who runs it now: `process 7 on host, since …`; None where nobody does.
        live: what that run is doing, where it has begun to make something.
        ended: how the last run before it ended; None where there was none.
        claims: what is being made now, by which processes; more than the `live` run has, where others joined it.
        failed: why artefacts could not be made, in the run that goes on, else in the last one; what is there by now is left out.
    """

    study: str
    stages: list[StageStatus]
    holder: str | None
    live: Live | None
    claims: list[Claim]
    ended: str | None
    failed: dict[str, str]

    @property
    def wanted(self) -> int:
        """How many artefacts the recipe asks for."""
        return sum(stage.wanted for stage in self.stages)

    @property
    def valid(self) -> int:
        """How many of them are there as they should be, whoever made them."""
        return sum(stage.valid for stage in self.stages)

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.valid == self.wanted


def read_status(study: Path | str) -> StudyStatus:
    """How far a study is, or a parameter sweep with all its studies; files are read, and nothing is locked or changed.

    Raises:
        DeltaspaceError: the folder is neither, its model or tasks are gone, or a record of it is damaged.
    """
    folder = Folder(study)
    of_sweep = is_sweep(folder.path.parent)
    held_by = holder(folder.path)
    live = None if held_by is None else read_live(folder)
    if held_by is None and of_sweep:
        held_by = holder(folder.path.parent)
    if is_sweep(folder.path):
        graph = sweep_graph(folder.path)
    else:
        folder.check()
        graph = Graph(Resources(load_recipe(folder.path / RECIPE), folder))
    stages: dict[str, StageStatus] = {}
    states: dict[str, State] = {}
    # Of a sweep's shared study only the stages that are shared are asked for.
    until = last_stage(folder.path.name) if of_sweep else None
    for artefact in graph.order(graph.wanted(until)):
        counted = stages.setdefault(artefact.stage, StageStatus(STAGES[artefact.stage].title))
        state = states[artefact.path] = graph.state(artefact)
        setattr(counted, state, getattr(counted, state) + 1)
    histories = {each: read_history(each) for each in graph.folders()}
    last = max((history[-1] for history in histories.values() if history), key=lambda record: record.started, default=None)
    failed = live.failed if live is not None else _failed(folder.path, histories)
    claims = [
        replace(claim, artefact=(each / claim.artefact).relative_to(folder.path).as_posix())
        for each in graph.folders()
        for claim in Folder(each).claims.all()
    ]
    if live is not None:  # it may be of a run that was killed, and that others had joined
        claimed = {claim.artefact for claim in claims}
        live = replace(live, running=[job for job in live.running if job.artefact in claimed])
    return StudyStatus(
        str(study),
        [stages[name] for name in STAGES if name in stages],
        held_by,
        live,
        claims,
        None if last is None else last.ended,
        {path: why for path, why in failed.items() if states.get(path) != "valid"},
    )


def _failed(study: Path, histories: Mapping[Path, Sequence[RunRecord]]) -> dict[str, str]:
    """What the last run could not make of each study, by its path below the folder that is asked for."""
    return {
        (folder / path).relative_to(study).as_posix(): why
        for folder, history in histories.items()
        if history
        for path, why in history[-1].failed.items()
    }
