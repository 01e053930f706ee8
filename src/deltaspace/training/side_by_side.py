"""Several trainings side by side: a pass of the model has a batch of each, and each has its optimizer, evaluations and end.

What one pass of a batch leaves idle, as a GPU with sixteen short sentences, the others use. Each ends with the numbers, but for
rounding, that it has alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.interruption import held
from deltaspace.training.loop import Evaluate, Fit, Run, saved_where_interrupted
from deltaspace.training.optimizer import Adam, Optimizer, StepLoss
from deltaspace.training.resume import Resume
from deltaspace.training.settings import Training


@dataclass(frozen=True)
class Job:
    """One of several trainings.

    Args:
        parameters: where to start; never changed.
        evaluate: the score on dev of some parameters.
        resume: see `fit`.
    """

    parameters: Sequence[Tensor]
    evaluate: Evaluate
    resume: Resume


# Of the trainings that go on, each by its number: its values, and the number of its batch.
Asked = Sequence[tuple[int, list[Tensor], int]]


def fit_each(
    jobs: Sequence[Job],
    losses: Callable[[Asked], Float[Tensor, " asked"]],
    settings: Training,
    *,
    optimizer: Callable[[list[Tensor]], Optimizer] = Adam,
    keep_trajectory: bool = False,
) -> list[Fit]:
    """Do what `fit` does for each of several trainings with the same settings, in common passes of the model.

    Args:
        jobs: the trainings.
        losses: of each training that is asked for, the loss of its batch; one training's must depend on its values alone.
        settings: of all of them.
        optimizer: makes what takes the steps of one; it must ask for gradients only, as `Adam` does.
        keep_trajectory: see `fit`.

    Raises:
        DeltaspaceError: the loss of one is not finite.
    """
    runs = [Run(job.parameters, job.evaluate, settings, optimizer, job.resume, keep_trajectory) for job in jobs]
    with saved_where_interrupted(runs):
        going = dict(enumerate(runs))
        while going := {number: run for number, run in going.items() if not run.ended(1 / len(going))}:
            with held():
                given = _gradients(going, losses)
                for run, gradient in zip(going.values(), given, strict=True):
                    run.advance(gradient)
            for run in going.values():
                run.spend(1 / len(going))
    return [run.result() for run in runs]


def _gradients(going: dict[int, Run], losses: Callable[[Asked], Float[Tensor, " asked"]]) -> list[StepLoss]:
    """The next step's loss of each training, with the gradients that one backward pass gives to all."""
    values = [value for run in going.values() for value in run.values]
    batches = [list(run.batches()) for run in going.values()]
    gradients, told = [torch.zeros_like(value) for value in values], torch.zeros(len(going))
    for numbers in zip(*batches, strict=True):
        asked = [(number, run.values, batch) for (number, run), batch in zip(going.items(), numbers, strict=True)]
        part = losses(asked) / len(batches[0])
        for total, gradient in zip(gradients, torch.autograd.grad(part.sum(), values), strict=True):
            total += gradient
        told += part.detach().cpu()
    remaining = iter(gradients)
    return [
        _KnownLoss(run.values, [next(remaining) for _ in run.values], float(loss))
        for run, loss in zip(going.values(), told, strict=True)
    ]


class _KnownLoss(StepLoss):
    """The loss of one step, whose gradients are there."""

    def __init__(self, values: list[Tensor], gradients: list[Tensor], loss: float) -> None:
        super().__init__(values, lambda _, __: torch.tensor(loss), [])
        self._gradients, self.last = gradients, loss

    def backward(self) -> None:
        """Put the gradients into the values."""
        for value, gradient in zip(self._values, self._gradients, strict=True):
            value.grad = gradient
