"""The files of a study as data: which one, what it is made from, what is in it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from deltaspace.study.scores import ScoreRow


@dataclass(frozen=True)
class Artefact:
    """One file of a study.

    Args:
        stage: the name of its stage.
        key: which of the stage's artefacts.
        path: relative to the study's folder.
    """

    stage: str
    key: Hashable
    path: str

    def __hash__(self) -> int:
        # No two artefacts of a study have one path, and a graph looks for them by the million.
        return hash(self.path)


@dataclass(frozen=True)
class MadeFrom:
    """Everything that decides what is in an artefact, beside the PLM.

    Args:
        artefacts: those that it is made from.
        settings: plain values, JSON-able.
    """

    artefacts: tuple[Artefact, ...] = ()
    settings: Any = None


@dataclass(frozen=True)
class Content:
    """What is in an artefact.

    Args:
        tensors: by name; an artefact without any is a JSON file.
        metadata: JSON-able.
        row: its score, where it has one.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    row: ScoreRow | None = None
