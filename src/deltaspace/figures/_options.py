"""What can be chosen about a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deltaspace.landscape.region import DEFAULT_THRESHOLD

Quantity = Literal["score", "loss"]


@dataclass(frozen=True)
class Options:
    """What can be chosen about a figure; each figure takes what concerns it.

    Args:
        dim: d, where a study has several.
        seed: only this one; by default the first one's subspace, and scores over all seeds.
        task: only this one.
        landscape: its name; the study's first by default.
        threshold: q, in percent of each delta's best.
        quantity: what is shaded.
        width: of the figure, in inches; its natural one by default.
        title: whether it has one.
    """

    dim: int | None = None
    seed: int | None = None
    task: str | None = None
    landscape: str | None = None
    threshold: float = DEFAULT_THRESHOLD
    quantity: Quantity = "score"
    width: float | None = None
    title: bool = True


EVERY_FIGURE = ("width", "title")
"""The options that every figure takes."""
