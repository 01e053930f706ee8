"""The one training loop: independent solutions, approximation and optimization all go through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.files import read_tensors, write_tensors

# Seconds between two checkpoints of a running training; they are written at evaluations.
_CHECKPOINT_SECONDS = 20.0
# Batches are formed of inputs of similar length within this many batches of shuffled examples: less padding.
_POOL = 16

Progress = Callable[[int, int, str], None]
Loss = Callable[[list[Tensor], int], Tensor | Iterable[Tensor]]


class Training(BaseModel):
    """How one stage trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=1, description="most steps")
    lr: float = Field(gt=0, description="peak learning rate (Adam)")
    batch_size: int = Field(16, ge=1, description="examples a step")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")
    decay: bool = Field(True, description="let the learning rate fall linearly to zero at the last step")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed for one step")
    evaluate_every: int = Field(25, ge=1, description="steps between two evaluations on dev")
    patience: int | None = Field(None, ge=1, description="evaluations without improvement after which training stops")


@dataclass(frozen=True)
class Score:
    """A metric (higher is better) and the mean loss that breaks ties, on one split."""

    metric: float
    loss: float
    count: int

    def better_than(self, other: Score | None) -> bool:
        """Whether this is an improvement: a higher metric, or the same at a lower loss."""
        return other is None or (self.metric, -self.loss) > (other.metric, -other.loss)


@dataclass
class Fit:
    """What a training found.

    Args:
        parameters: the best on dev.
        best: their score on dev.
        best_step: the step they are of (0: the initial ones).
        steps: steps taken in all.
        seconds: training time, evaluations included, over all runs that were needed.
        curve: (step, dev metric, dev loss) of every evaluation.
        path: where each of the values was before the first step and after every one, (steps + 1, …), if that was asked for.
    """

    parameters: list[Tensor]
    best: Score
    best_step: int
    steps: int
    seconds: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    path: list[Tensor] = field(default_factory=list)


class Batches:
    """An endless, shuffled stream of batches that depends on the seed and the step alone, so that a resumed run sees the same."""

    def __init__(self, items: Sequence[Item], size: int, seed: int) -> None:
        self._items = items
        self._size = min(size, len(items))
        self._seed = seed
        self._epoch = -1
        self._order: list[list[int]] = []

    def at(self, step: int) -> list[Item]:
        """The items of a step (from 0)."""
        per_epoch = len(self._items) // self._size
        epoch, position = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch, per_epoch)
        return [self._items[index] for index in self._order[position]]

    def _shuffled(self, epoch: int, count: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed((self._seed + epoch) % 2**63)
        order = torch.randperm(len(self._items), generator=generator).tolist()
        pool = self._size * _POOL
        batches: list[list[int]] = []
        for start in range(0, count * self._size, pool):
            part = sorted(order[start : min(start + pool, count * self._size)], key=lambda i: len(self._items[i]["input_ids"]))
            batches += [part[i : i + self._size] for i in range(0, len(part), self._size)]
        return [batches[i] for i in torch.randperm(count, generator=generator).tolist()]


class Objective:
    """The loss of one step, at the values that are tuned or at others.

    Args:
        values: what is tuned.
        loss: of some values and the number of a batch; or its parts, whose sum it is, one after another: then the model's
            activations of only one part are in memory.
        batches: the numbers of this step's batches; their mean counts.
    """

    def __init__(self, values: list[Tensor], loss: Loss, batches: Sequence[int]) -> None:
        self._values, self._loss, self._batches = values, loss, batches
        self.last = float("nan")

    def backward(self) -> None:
        """Put the gradients into the values."""
        total = 0.0
        for batch in self._batches:
            for part in _parts(self._loss(self._values, batch)):
                value = part / len(self._batches)
                value.backward()
                total += float(value.detach())
        self.last = total

    @torch.no_grad()
    def at(self, values: list[Tensor]) -> float:
        """The loss at other values."""
        parts = [part for batch in self._batches for part in _parts(self._loss(values, batch))]
        self.last = float(torch.stack(parts).sum()) / len(self._batches)
        return self.last


def _parts(loss: Tensor | Iterable[Tensor]) -> Iterable[Tensor]:
    return (loss,) if isinstance(loss, Tensor) else loss


@runtime_checkable
class Optimizer(Protocol):
    """What `fit` drives."""

    def advance(self, objective: Objective, lr: float, clip: float) -> Tensor:
        """One step, with gradients clipped to a norm; what comes back must be finite."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""


class Adam:
    """Adam over some tensors.

    Args:
        values: the tensors; changed in place.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = list(values)
        self._adam = torch.optim.Adam(self.groups(), fused=True)

    def advance(self, objective: Objective, lr: float, clip: float) -> Tensor:
        """One step; the norm of the gradient before clipping."""
        self._zero()
        objective.backward()
        norm = self._norm()
        if torch.isfinite(norm).all():
            # As torch's clip_grad_norm_ does it.
            self._move(lr, (clip / (norm + 1e-6)).clamp_max(1))
        return norm

    def groups(self) -> list[dict[str, object]]:
        """torch's parameter groups."""
        return [{"params": self._values}]

    def _zero(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def _norm(self) -> Tensor:
        return torch.nn.utils.get_total_norm([value.grad for value in self._values if value.grad is not None])

    @torch.no_grad()
    def _move(self, lr: float, scale: Tensor) -> None:
        for group in self._adam.param_groups:
            group["lr"] = lr
        for value in self._values:
            if value.grad is not None:
                value.grad *= scale
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name."""
        states = [self._adam.state[value] for value in self._values]
        return {f"{index}.{key}": tensor for index, state in enumerate(states) for key, tensor in state.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        for index, value in enumerate(self._values):
            keys = ("step", "exp_avg", "exp_avg_sq")
            self._adam.state[value] = {key: state[f"{index}.{key}"].to(value.device) for key in keys}


def fit(
    parameters: Sequence[Tensor],
    loss: Loss,
    evaluate: Callable[[list[Tensor]], Score],
    settings: Training,
    *,
    optimizer: Callable[[list[Tensor]], Optimizer] = Adam,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
    keep_path: bool = False,
) -> Fit:
    """Minimize `loss(parameters, step)`; keep the parameters that `evaluate` finds best.

    Args:
        parameters: where to start; never changed.
        loss: scalar loss of a batch (from 0; as many a step as `settings.accumulate` says), or its parts; must depend on its
            number alone.
        evaluate: the score on dev of some parameters.
        settings: see `Training`.
        optimizer: makes what takes the steps.
        checkpoint: where a running training keeps its state; a killed one goes on from there and ends with the same numbers.
        fingerprint: what the checkpoint must have been made from.
        progress: called with (step, most steps, text).
        keep_path: remember the values after every step; for few numbers only.

    Raises:
        DeltaspaceError: the loss is not finite.
    """
    values = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    moves = optimizer(values)
    state = _State(values, moves, keep_path)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, fingerprint)
    if state.best is None:
        state.judge(0, evaluate)
    started = saved = time.perf_counter()
    earlier = state.seconds
    while state.step < settings.steps and not state.stalled(settings.patience):
        first = state.step * settings.accumulate
        objective = Objective(values, loss, range(first, first + settings.accumulate))
        norm = moves.advance(objective, settings.lr * _schedule(state.step, settings), settings.clip)
        if not torch.isfinite(norm).all():
            raise DeltaspaceError(
                f"the training diverged at step {state.step + 1}",
                found=f"loss {objective.last}, gradient norm {norm.max().item()}",
                expected="finite numbers",
                mend="lower this stage's learning rate in the recipe",
            )
        state.step += 1
        state.remember()
        if state.step % settings.evaluate_every == 0 or state.step == settings.steps:
            state.judge(state.step, evaluate)
            now = time.perf_counter()
            state.seconds = earlier + now - started
            if checkpoint is not None and now - saved > _CHECKPOINT_SECONDS:
                state.save(checkpoint, fingerprint)
                saved = time.perf_counter()
        if progress is not None:
            assert state.best is not None
            progress(state.step, settings.steps, f"best on dev {state.best.metric:.1f}")
    assert state.best is not None
    seconds = earlier + time.perf_counter() - started
    path = [torch.stack(places) for places in zip(*state.path, strict=True)]
    return Fit(state.best_values, state.best, state.best_step, state.step, seconds, state.curve, path)


def _schedule(step: int, settings: Training) -> float:
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    return (settings.steps - step) / max(1, settings.steps - warm) if settings.decay else 1.0


class _State:
    """Everything a training needs to go on: values, the optimizer's state, the best so far, the way here."""

    def __init__(self, values: list[Tensor], optimizer: Optimizer, keep_path: bool) -> None:
        self.values, self.optimizer = values, optimizer
        self.step = 0
        self.seconds = 0.0
        self.best: Score | None = None
        self.best_step = 0
        self.best_values = [value.detach().clone() for value in values]
        self.curve: list[tuple[int, float, float]] = []
        self.keep_path = keep_path
        self.path: list[list[Tensor]] = []
        self.remember()

    def remember(self) -> None:
        if self.keep_path:
            self.path.append([value.detach().clone() for value in self.values])

    def judge(self, step: int, evaluate: Callable[[list[Tensor]], Score]) -> None:
        with torch.no_grad():
            score = evaluate([value.detach() for value in self.values])
        self.curve.append((step, score.metric, score.loss))
        if score.better_than(self.best):
            self.best, self.best_step = score, step
            self.best_values = [value.detach().clone() for value in self.values]

    def stalled(self, patience: int | None) -> bool:
        return patience is not None and sum(step > self.best_step for step, *_ in self.curve) >= patience

    def save(self, path: Path, fingerprint: str) -> None:
        assert self.best is not None
        tensors: dict[str, Tensor] = {}
        for index, value in enumerate(self.values):
            tensors |= {f"{index}.value": value, f"{index}.best": self.best_values[index]}
        for index, places in enumerate(zip(*self.path, strict=True)):
            tensors[f"{index}.path"] = torch.stack(places)
        tensors |= {f"optimizer.{key}": tensor for key, tensor in self.optimizer.state().items()}
        best = [self.best.metric, self.best.loss, self.best.count]
        rest = {"step": self.step, "seconds": self.seconds, "best": best, "best_step": self.best_step, "curve": self.curve}
        write_tensors(path, tensors, {"fingerprint": fingerprint, **rest})

    def load(self, path: Path, fingerprint: str) -> None:
        tensors, rest = read_tensors(path)
        if rest["fingerprint"] != fingerprint or (self.keep_path and "0.path" not in tensors):
            return  # of an earlier recipe or version: this training starts at its beginning
        for index, value in enumerate(self.values):
            value.data.copy_(tensors[f"{index}.value"])
            self.best_values[index].copy_(tensors[f"{index}.best"])
        if self.keep_path:
            ways = [tensors[f"{index}.path"].to(value.device) for index, value in enumerate(self.values)]
            self.path = [list(places) for places in zip(*ways, strict=True)]
        own = {name.removeprefix("optimizer."): tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
        self.optimizer.load(own)
        self.step, self.seconds, self.best_step = rest["step"], rest["seconds"], rest["best_step"]
        metric, loss, count = rest["best"]
        self.best = Score(metric, loss, count)
        self.curve = [(step, metric, loss) for step, metric, loss in rest["curve"]]
