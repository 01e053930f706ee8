"""The one training loop: independent solutions, approximation and optimization all go through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    evaluate: Callable[[list[Tensor]], Score],
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
    kept = resume.state if processes.first else None

    def begin() -> _State:
        values = [parameter.detach().clone().requires_grad_() for parameter in parameters]
        return _State(values, optimizer(values), keep_trajectory)

    def go_on(tensors: dict[str, Tensor], said: dict[str, Any]) -> _State:
        state = begin()
        state.load(tensors, said, settings.steps)
        return state

    state = resume.load(go_on) or begin()
    started = saved = time.perf_counter()
    earlier, begun = state.seconds, state.step
    try:
        while True:
            if state.due(settings):
                state.judge(lambda values: processes.from_first(lambda: evaluate(values)))
                now = time.perf_counter()
                state.seconds = earlier + now - started
                ended = resume.kept and state.ended(settings)
                if kept is not None and state.step > 0 and (ended or now - saved > _SAVE_SECONDS):
                    state.save(kept, resume.fingerprint)
                    saved = time.perf_counter()
            assert state.best is not None
            if state.step > begun:
                resume.tell(state.step, settings.steps, f"best on dev {state.best.value:.1f}")
            if state.ended(settings):
                break
            with held():
                _step(state, loss, settings, processes)
    except Interrupted:
        # Steps are whole, and an evaluation that was stopped is due again: this goes on exactly where it is.
        # Before the first step there is nothing to go on from, nor has the optimizer a state.
        if kept is not None and state.step > 0:
            state.seconds = earlier + time.perf_counter() - started
            state.save(kept, resume.fingerprint)
        raise
    assert state.best is not None
    seconds = earlier + time.perf_counter() - started
    trajectory = [torch.stack(points) for points in zip(*state.trajectory, strict=True)]
    return Fit(state.best_values, state.best, state.best_step, state.step, seconds, state.curve, trajectory)


def _step(state: _State, loss: Loss, settings: Training, processes: Processes) -> None:
    """One step of the optimizer."""
    first = state.step * settings.accumulate
    step_loss = StepLoss(state.values, loss, range(first, first + settings.accumulate), processes)
    norm = state.optimizer.advance(step_loss, settings.lr * _schedule(state.step, settings), settings.clip)
    if not torch.isfinite(norm).all():
        raise DeltaspaceError(
            f"the training diverged at step {state.step + 1}",
            found=f"loss {step_loss.last}, gradient norm {norm.max().item()}",
            expected="finite numbers",
            mend="lower this stage's learning rate in the recipe",
        )
    state.step += 1
    state.remember()


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

    def judge(self, evaluate: Callable[[list[Tensor]], Score]) -> None:
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
