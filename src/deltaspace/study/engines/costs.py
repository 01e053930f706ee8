"""How long artefacts take: estimated from those of their stage that were made, here or by earlier runs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from statistics import fmean

from deltaspace.errors import DeltaspaceError
from deltaspace.study.artefact import Artefact
from deltaspace.study.history import RunRecord, read_history
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES


class Costs:
    """Seconds of artefacts. An artefact takes what those of its stage take on average, times how long its task's texts are beside
    those of the other tasks; a stage of which nothing is known takes what the known ones take.

    Args:
        resources: the study's.
        folders: of the studies whose histories say what earlier runs took; this study's by default.
    """

    def __init__(self, resources: Resources, folders: Iterable[Path] | None = None) -> None:
        lengths = {name: fmean(len(example.input) for example in task.train) for name, task in resources.tasks.items()}
        mean = fmean(lengths.values()) or 1.0
        self._sizes = {name: length / mean for name, length in lengths.items()}
        self._measured: dict[str, list[float]] = {}
        self._left: dict[str, float] = {}
        titles = {stage.title: stage.name for stage in STAGES.values()}
        for record in chain.from_iterable(map(_history, [resources.folder.path] if folders is None else folders)):
            for title, seconds in record.seconds.items():
                if title in titles and record.artefacts.get(title):
                    self._measured[titles[title]] = [seconds, float(record.artefacts[title])]

    def size(self, artefact: Artefact) -> float:
        """How much longer than on average the texts of its task are; 1 for what is of no one task."""
        return self._sizes.get(getattr(artefact.key, "task", ""), 1.0)

    def seconds(self, artefact: Artefact) -> float:
        """What it is going to take."""
        return self._rate(artefact.stage) * self.size(artefact)

    def expect(self, artefacts: Iterable[Artefact]) -> None:
        """These are going to be made."""
        for artefact in artefacts:
            self._left[artefact.stage] = self._left.get(artefact.stage, 0.0) + self.size(artefact)

    def learn(self, artefact: Artefact, seconds: float | None) -> bool:
        """It took so long, or will not be made: None.

        Returns:
            Whether it is the first of its stage of which that is known.
        """
        size = self.size(artefact)
        self._left[artefact.stage] -= size
        if seconds is None:
            return False
        first = artefact.stage not in self._measured
        known = self._measured.setdefault(artefact.stage, [0.0, 0.0])
        known[0] += seconds
        known[1] += size
        return first

    def left(self) -> float:
        """Seconds of all that were expected and are not made yet, one after another."""
        return sum(self._rate(stage) * max(size, 0.0) for stage, size in self._left.items())

    def _rate(self, stage: str) -> float:
        known = self._measured.get(stage)
        if known is None:
            seconds, size = (
                (sum(values) for values in zip(*self._measured.values(), strict=True)) if self._measured else (1.0, 1.0)
            )
            return seconds / size if size else 1.0
        return known[0] / known[1] if known[1] else 0.0


def _history(folder: Path) -> list[RunRecord]:
    try:
        return read_history(folder)
    except DeltaspaceError:  # the run itself tells of it, and sets it aside
        return []
