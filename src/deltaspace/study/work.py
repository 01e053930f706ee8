"""What making an artefact takes, counted before anything is computed: the most that its stage may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaspace.training import Training


@dataclass(frozen=True)
class Work:
    """What making an artefact takes at most.

    Args:
        trained: delta -> examples that go through the model forward and back.
        read: delta -> examples that go through it forward alone.
        task: whose examples these are, or are like.
        numbers: how many are written, of 4 bytes.
    """

    trained: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    task: str | None = None
    numbers: int = 0

    @classmethod
    def of_training(
        cls, how: Training, deltas: Iterable[str], dev: int, *, side_by_side: int = 1, task: str | None = None, numbers: int = 0
    ) -> Work:
        """What a training takes that goes on to its last step.

        Args:
            how: its settings.
            deltas: which a batch goes through, each.
            dev: examples of one evaluation.
            side_by_side: candidates, each with its own copy of a batch.
            task, numbers: as the class has them.
        """
        named = list(deltas)
        trained = how.steps * how.batch_size * how.accumulate * side_by_side
        evaluations = 1 + how.steps // how.evaluate_every
        return cls(dict.fromkeys(named, trained), dict.fromkeys(named, evaluations * dev * side_by_side), task, numbers)

    def reading(self, examples: int, *deltas: str) -> Work:
        """The same, with more examples that are read by some deltas."""
        read = {name: self.read.get(name, 0) + (examples if name in deltas else 0) for name in {*self.read, *deltas}}
        return Work(self.trained, read, self.task, self.numbers)
