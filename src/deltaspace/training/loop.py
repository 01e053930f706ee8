"""The one training loop: independent solutions, approximation and optimization all go through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.interruption import Interrupted, held
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.training.optimizer import Adam, Loss, Optimizer, StepLoss
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

    Raises:
        DeltaspaceError: the loss is not finite.
    """
    values = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    steps = optimizer(values)
    state = _State(values, steps, keep_trajectory)
    if resume.state is not None and resume.state.exists():
        state.load(resume.state, resume.fingerprint)
    started = saved = time.perf_counter()
    earlier, begun = state.seconds, state.step
    try:
        while True:
            if state.due(settings):
                state.judge(evaluate)
                now = time.perf_counter()
                state.seconds = earlier + now - started
                ended = resume.kept and state.ended(settings)
                if resume.state is not None and state.step > 0 and (ended or now - saved > _SAVE_SECONDS):
                    state.save(resume.state, resume.fingerprint)
                    saved = time.perf_counter()
            assert state.best is not None
            if state.step > begun:
                resume.tell(state.step, settings.steps, f"best on dev {state.best.value:.1f}")
            if state.ended(settings):
                break
            with held():
                _step(state, values, steps, loss, settings)
    except Interrupted:
        # Steps are whole, and an evaluation that was stopped is due again: this goes on exactly where it is.
        # Before the first step there is nothing to go on from, nor has the optimizer a state.
        if resume.state is not None and state.step > 0:
            state.seconds = earlier + time.perf_counter() - started
            state.save(resume.state, resume.fingerprint)
        raise
    assert state.best is not None
    seconds = earlier + time.perf_counter() - started
    trajectory = [torch.stack(points) for points in zip(*state.trajectory, strict=True)]
    return Fit(state.best_values, state.best, state.best_step, state.step, seconds, state.curve, trajectory)


def _step(state: _State, values: list[Tensor], steps: Optimizer, loss: Loss, settings: Training) -> None:
    """One step of the optimizer."""
    first = state.step * settings.accumulate
    step_loss = StepLoss(values, loss, range(first, first + settings.accumulate))
    norm = steps.advance(step_loss, settings.lr * _schedule(state.step, settings), settings.clip)
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
        best = [self.best.value, self.best.loss, self.best.count]
        rest = {"step": self.step, "seconds": self.seconds, "best": best, "best_step": self.best_step, "curve": self.curve}
        write_tensors(path, tensors, {"fingerprint": fingerprint, **rest})

    def load(self, path: Path, fingerprint: str) -> None:
        tensors, rest = read_tensors(path)
        if rest["fingerprint"] != fingerprint or (self.keep_trajectory and "0.trajectory" not in tensors):
            return  # of an earlier recipe or version: this training starts at its beginning
        for index, value in enumerate(self.values):
            value.data.copy_(tensors[f"{index}.value"])
            self.best_values[index].copy_(tensors[f"{index}.best"])
        if self.keep_trajectory:
            kept = [tensors[f"{index}.trajectory"].to(value.device) for index, value in enumerate(self.values)]
            self.trajectory = [list(points) for points in zip(*kept, strict=True)]
        steps = {name.removeprefix("optimizer."): tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
        self.optimizer.load(steps)
        self.step, self.seconds, self.best_step = rest["step"], rest["seconds"], rest["best_step"]
        self.best = Score(*rest["best"])
        self.curve = [(step, value, loss) for step, value, loss in rest["curve"]]
