"""How far a study is, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from deltaspace.names import counted
from deltaspace.study import StudyStatus


def status_tables(status: StudyStatus) -> Iterator[Table]:
    """What is there of each stage; what is being made; what failed."""
    table = Table(title="What is there", title_justify="left")
    table.add_column("stage")
    kinds = ("valid", "missing", "stale", "damaged")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for stage in status.stages:
        table.add_row(stage.stage, *(str(getattr(stage, kind)) for kind in kinds))
    yield table
    told = [] if status.live is None else status.live.running
    joined = [claim for claim in status.claims if claim.artefact not in {job.artefact for job in told}]
    if told or joined:
        running = Table(title="What is being made", title_justify="left")
        for heading in ("artefact", "worker", "since (UTC)", "progress"):
            running.add_column(heading, overflow="fold")
        for job in told:
            steps = f"{job.step} of {job.steps} {job.text}" if job.steps else job.text
            running.add_row(job.artefact, job.worker or status.holder or "", job.since.partition("+")[0], steps.strip())
        for claim in joined:
            running.add_row(claim.artefact, f"process {claim.process} on {claim.host}", claim.since.partition("+")[0], "")
        yield running
    if status.failed:
        failed = Table(title="What could not be made", title_justify="left")
        failed.add_column("artefact", overflow="fold")
        failed.add_column("why", overflow="fold")
        for path, why in status.failed.items():
            failed.add_row(path, why)
        yield failed


def status_text(status: StudyStatus) -> Iterator[str]:
    """Who runs it and how long that will take; without a run how the last one ended."""
    if status.holder is not None:
        yield f"run by {status.holder}"
        left = status.live.seconds_left if status.live is not None else None
        # Counted by what is there: what a run tells of itself leaves out what runs beside it made.
        told = "" if left is None else f", about {left:.0f} s left"
        yield f"there: {status.valid} of {counted(status.wanted, 'artefact')}, {len(status.claims)} being made{told}"
    elif status.complete:
        yield "everything is there; no run is going on"
    else:
        # Without a word: none was ever begun, or the last one was killed.
        last = "no run said how it ended" if status.ended is None else f"the last one: {status.ended}"
        if count := len(status.failed):
            last = f"the last one could not make {counted(count, 'artefact')}"
        yield f"not everything is there, and no run is going on ({last}); run it again to go on"
