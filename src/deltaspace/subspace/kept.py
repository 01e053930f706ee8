"""What is kept of a solution where it is taken from a checkpoint, or put into a space: parameters, decisions, score.

    parameter error = |theta' - theta| / |theta|,    of a space: |D' - D| / |D| with the displacements

theta is what there was, theta' what there is in its place. Disagreement is that of their functions (agreement.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from deltaspace.markdown import plain
from deltaspace.names import counted

# Test inputs of a task on which decisions are compared.
TEXTS = 64
# Less is rounding: of parameters in fp32, and of decisions.
_ROUNDING, _ALIKE = 1e-5, 1e-4


@dataclass(frozen=True)
class Kept:
    """What is kept of one solution.

    Args:
        task: of which task.
        delta: of which delta.
        seed: the study's.
        dim: d of the space that keeps it; None where it was taken from a checkpoint.
        source: the checkpoint; None of a solution that was trained in the study.
        parameter_error: relative length of what is lost of its parameters: 0, nothing; 1, as much as there was.
        disagreement: on held-out inputs: 0, the same function; 1, nothing in common.
        metric: of the scores.
        before: the score on test of what there was: of a checkpoint as peft loads it, of a solution outside the space.
        after: of what there is in its place.
        n_test: how many examples that is of.
    """

    task: str
    delta: str
    seed: int
    dim: int | None
    source: str | None
    parameter_error: float
    disagreement: float
    metric: str
    before: float
    after: float
    n_test: int

    @property
    def whole(self) -> bool:
        """Whether nothing is lost but to rounding."""
        return self.parameter_error <= _ROUNDING and self.disagreement <= _ALIKE and self.before == self.after

    def __str__(self) -> str:
        where = "by the import" if self.dim is None else f"by {counted(self.dim, 'dimension')}"
        return (
            f"{where}: parameter error {self.parameter_error:.1%}, disagreement {self.disagreement:.2f}, "
            f"{self.metric} {self.before:.1f} → {self.after:.1f} on {self.n_test} test examples"
        )


def relative_error(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Length of the difference beside that of what there was, over pairs of tensors: what there was, what there is.

    Where there was nothing, the length of what there is.
    """
    lost = length = 0.0
    for before, after in pairs:
        was = before.detach().double()
        lost += float((after.detach().to(was.device).double() - was).square().sum())
        length += float(was.square().sum())
    return math.sqrt(lost / length) if length else math.sqrt(lost)


def kept_markdown(kept: Sequence[Kept]) -> str:
    """A table for a model card, each solution a line; nothing where nothing was measured."""
    if not kept:
        return ""
    lines = [
        f"| {plain(row.task)} | {plain(row.delta)} | {f'd = {row.dim}' if row.dim else 'import'} | {row.parameter_error:.1%} "
        f"| {row.disagreement:.3f} | {row.before:.1f} → {row.after:.1f} ({row.metric}, {counted(row.n_test, 'example')}) |"
        for row in kept
    ]
    heads = "| task | delta | kept by | parameter error | disagreement | score on test |\n| --- | --- | --- | --- | --- | --- |"
    return "\n".join(["What is kept of each source solution:", "", heads, *lines, ""])
