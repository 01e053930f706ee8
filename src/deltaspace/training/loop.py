"""The one training loop: independent solutions, approximation and optimization all go through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import Interrupted, held
from deltaspace.settings import Settings
from deltaspace.storage import write_tensors
from deltaspace.training.optimizer import Adam, Loss, Optimizer, StepLoss, fitting
from deltaspace.training.processes import ALONE, Processes
from deltaspace.training.resume import NO_RESUME, Resume
from deltaspace.training.settings import Score, Training

Evaluate = Callable[[list[Tensor]], Score]
# Seconds between two saved states of a running training; they are written at evaluations.
_SAVE_SECONDS = 20.0


@dataclass
class Fit:
    """What a training found.

    Args:
        parameters: the best on dev.
        best: their score on dev.
        best_step: the step they are of (0: the initial ones).
        steps: steps taken in all.
        seconds: training time, evaluations included, over all runs that were needed.
        curve: (step, score on dev, loss on dev) of every evaluation.
        trajectory: each of the values before the first step and after every one, (steps + 1, …), if that was asked for.
    """

    parameters: list[Tensor]
    best: Score
    best_step: int
    steps: int
    seconds: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    trajectory: list[Tensor] = field(default_factory=list)


def fit(
    parameters: Sequence[Tensor],
    loss: Loss,
    evaluate: Evaluate,
    settings: Training,
    *,
    optimizer: Callable[[list[Tensor]], Optimizer] = Adam,
    resume: Resume = NO_RESUME,
    keep_trajectory: bool = False,
    processes: Processes = ALONE,
) -> Fit:
    """Minimize `loss(parameters, step)`; keep the parameters that `evaluate` finds best.

    Args:
        parameters: where to start; never changed.
        loss: scalar loss of a batch (from 0; as many a step as `settings.accumulate` says), or its parts; must depend on its
            number alone.
        evaluate: the score on dev of some parameters.
        settings: see `Training`.
        optimizer: makes what takes the steps.
        resume: a killed training goes on from its state and ends with the same numbers.
        keep_trajectory: remember the values after every step; for few numbers only.
        processes: that share the batches of each step; the first one evaluates, and keeps the state.

    Raises:
        DeltaspaceError: the loss is not finite, or the processes cannot share the batches.
    """
    processes.check(settings.accumulate)

    def judge(values: list[Tensor]) -> Score:
        return processes.from_first(lambda: evaluate(values))

    run = Run(parameters, judge, settings, optimizer, resume, keep_trajectory, saves=processes.first)
    with saved_where_interrupted([run]):
        while not run.ended():
            with held():
                run.advance(StepLoss(run.values, loss, run.batches(), processes))
            run.spend()
    return run.result()


class Run:
    """A training on its way, of which somebody else drives the steps; `fit` drives one, `fit_each` several side by side.

    Args:
        parameters, evaluate, settings, optimizer, resume, keep_trajectory: see `fit`.
        saves: whether its state is saved.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        evaluate: Evaluate,
        settings: Training,
        optimizer: Callable[[list[Tensor]], Optimizer],
        resume: Resume,
        keep_trajectory: bool = False,
        saves: bool = True,
    ) -> None:
        def begin() -> _State:
            values = [parameter.detach().clone().requires_grad_() for parameter in parameters]
            return _State(values, optimizer(values), keep_trajectory)

        def go_on(tensors: dict[str, Tensor], said: dict[str, Any]) -> _State:
            state = begin()
            state.load(tensors, said, settings.steps)
            return state

        self._evaluate, self._settings, self._resume = evaluate, settings, resume
        self._kept = resume.state if saves else None
        self._state = resume.load(go_on) or begin()
        self._begun = self._state.step
        self._last = self._saved = time.perf_counter()

    @property
    def values(self) -> list[Tensor]:
        """What is tuned."""
        return self._state.values

    def batches(self) -> range:
        """The numbers of the next step's batches."""
        first = self._state.step * self._settings.accumulate
        return range(first, first + self._settings.accumulate)

    def spend(self, share: float = 1.0) -> None:
        """The time since the last call was spent on this training, or a share of it."""
        now = time.perf_counter()
        self._state.seconds += share * (now - self._last)
        self._last = now

    def ended(self, share: float = 1.0) -> bool:
        """Evaluate where that is due, and say whether the training is over; the time is counted as `spend` does."""
        state, settings = self._state, self._settings
        if state.due(settings):
            state.judge(self._evaluate)
            self.spend(share)
            ended = self._resume.kept and state.ended(settings)
            if self._kept is not None and state.step > 0 and (ended or self._last - self._saved > _SAVE_SECONDS):
                state.save(self._kept, self._resume.fingerprint)
                self._saved = self._last
        assert state.best is not None
        if state.step > self._begun:
            self._resume.tell(state.step, settings.steps, f"best on dev {state.best.value:.1f}")
        return state.ended(settings)

    def advance(self, loss: StepLoss) -> None:
        """One step of the optimizer."""
        state, settings = self._state, self._settings
        norm = state.optimizer.advance(loss, settings.lr * _schedule(state.step, settings), settings.clip)
        if not torch.isfinite(norm).all():
            raise DeltaspaceError(
                f"the training diverged at step {state.step + 1}",
                found=f"loss {loss.last}, gradient norm {norm.max().item()}",
                expected="finite numbers",
                mend="lower its learning rate, lr",
            )
        state.step += 1
        state.remember()

    def save(self) -> None:
        """Save the state: steps are whole, and an evaluation that was stopped is due again, so that it goes on just there."""
        # Before the first step there is nothing to go on from, nor has the optimizer a state.
        if self._kept is not None and self._state.step > 0:
            self.spend()
            self._state.save(self._kept, self._resume.fingerprint)

    def result(self) -> Fit:
        """What it found."""
        state = self._state
        assert state.best is not None
        trajectory = [torch.stack(points) for points in zip(*state.trajectory, strict=True)]
        return Fit(state.best_values, state.best, state.best_step, state.step, state.seconds, state.curve, trajectory)


@contextmanager
def saved_where_interrupted(runs: Sequence[Run]) -> Iterator[None]:
    """In the block, a signal that ends it leaves the states of trainings behind."""
    try:
        yield
    except Interrupted:
        for run in runs:
            run.save()
        raise


def _schedule(step: int, settings: Training) -> float:
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    return (settings.steps - step) / max(1, settings.steps - warm) if settings.decay else 1.0


class _State:
    """Everything a training needs to go on: values, the optimizer's state, the best so far, the way here."""

    def __init__(self, values: list[Tensor], optimizer: Optimizer, keep_trajectory: bool) -> None:
        self.values, self.optimizer = values, optimizer
        self.step = 0
        self.seconds = 0.0
        self.best: Score | None = None
        self.best_step = 0
        self.best_values = [value.detach().clone() for value in values]
        self.curve: list[tuple[int, float, float]] = []
        self.keep_trajectory = keep_trajectory
        self.trajectory: list[list[Tensor]] = []
        self.remember()

    def remember(self) -> None:
        if self.keep_trajectory:
            self.trajectory.append([value.detach().clone() for value in self.values])

    def due(self, settings: Training) -> bool:
        """Whether the values are to be evaluated, and are not yet."""
        wanted = self.step % settings.evaluate_every == 0 or self.step == settings.steps
        return wanted and (not self.curve or self.curve[-1][0] < self.step)

    def judge(self, evaluate: Evaluate) -> None:
        with torch.no_grad():
            score = evaluate([value.detach() for value in self.values])
        with held():
            self.curve.append((self.step, score.value, score.loss))
            if score.better_than(self.best):
                self.best, self.best_step = score, self.step
                self.best_values = [value.detach().clone() for value in self.values]

    def ended(self, settings: Training) -> bool:
        return self.step >= settings.steps or self.stalled(settings.patience)

    def stalled(self, patience: int | None) -> bool:
        return patience is not None and sum(step > self.best_step for step, *_ in self.curve) >= patience

    def save(self, path: Path, fingerprint: str) -> None:
        assert self.best is not None
        tensors: dict[str, Tensor] = {}
        for index, value in enumerate(self.values):
            tensors |= {f"{index}.value": value, f"{index}.best": self.best_values[index]}
        for index, points in enumerate(zip(*self.trajectory, strict=True)):
            tensors[f"{index}.trajectory"] = torch.stack(points)
        tensors |= {f"optimizer.{key}": tensor for key, tensor in self.optimizer.state().items()}
        said = _Said(
            step=self.step,
            seconds=self.seconds,
            best=(self.best.value, self.best.loss, self.best.count),
            best_step=self.best_step,
            curve=tuple(self.curve),
        )
        write_tensors(path, tensors, {"fingerprint": fingerprint, **said.model_dump(mode="json")})

    def load(self, tensors: dict[str, Tensor], metadata: dict[str, Any], steps: int) -> None:
        """Take up what `save` wrote; where it does not fit, an error, and this is half changed."""
        said = _Said.model_validate({name: metadata[name] for name in _Said.model_fields})
        if not (said.best_step <= said.step <= steps and said.curve):
            raise ValueError(f"it is of step {said.step} of {steps}, its best of step {said.best_step}")
        for index, value in enumerate(self.values):
            value.data.copy_(fitting(tensors, f"{index}.value", value.shape))
            self.best_values[index].copy_(fitting(tensors, f"{index}.best", value.shape))
        if self.keep_trajectory:
            shapes = [(said.step + 1, *value.shape) for value in self.values]
            kept = [
                fitting(tensors, f"{index}.trajectory", shape).to(value.device)
                for index, (value, shape) in enumerate(zip(self.values, shapes, strict=True))
            ]
            self.trajectory = [list(points) for points in zip(*kept, strict=True)]
        self.optimizer.load(
            {name.removeprefix("optimizer."): tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
        )
        self.step, self.seconds, self.best_step = said.step, said.seconds, said.best_step
        self.best, self.curve = Score(*said.best), list(said.curve)


class _Said(Settings):
    """What a saved state says beside its tensors; losses may be infinite."""

    model_config = ConfigDict(allow_inf_nan=True)

    step: int = Field(ge=1)
    seconds: float = Field(ge=0)
    best: tuple[float, float, int]
    best_step: int = Field(ge=0)
    curve: tuple[tuple[int, float, float], ...]
