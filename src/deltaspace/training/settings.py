"""How a stage trains, and how well something does a task."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from deltaspace.settings import Settings


class Training(Settings):
    """How one stage trains."""

    steps: int = Field(ge=1, description="largest number of steps")
    lr: float = Field(default=2e-3, gt=0, description="peak learning rate (Adam)")
    batch_size: int = Field(default=16, ge=1, description="examples a step")
    warmup: float = Field(default=0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")
    decay: bool = Field(default=True, description="let the learning rate fall linearly to zero at the last step")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients are summed for one step")
    evaluate_every: int = Field(default=25, ge=1, description="steps between two evaluations on dev")
    patience: int | None = Field(default=None, ge=1, description="evaluations without improvement after which training stops")


@dataclass(frozen=True)
class Score:
    """How well a task is done on one split.

    Args:
        value: of the task's metric, on its scale of 100; higher is better.
        loss: mean over the examples, in nats; it breaks ties.
        count: how many examples.
        answers: of a few examples whose answers are written, input, reference and answer.
    """

    value: float
    loss: float
    count: int
    answers: tuple[tuple[str, str, str], ...] = ()

    def better_than(self, other: Score | None) -> bool:
        """Whether this is an improvement: a higher value, or the same at a lower loss."""
        return other is None or (self.value, -self.loss) > (other.value, -other.loss)
