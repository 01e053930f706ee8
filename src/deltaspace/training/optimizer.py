"""What takes the steps of a training, and Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from deltaspace.training.processes import ALONE, Processes

Loss = Callable[[list[Tensor], int], Tensor | Iterable[Tensor]]


class StepLoss:
    """The loss of one step, at the values that are tuned or at others.

    Args:
        values: what is tuned.
        loss: of some values and the number of a batch; or its parts, whose sum it is, one after another: then the model's
            activations of only one part are in memory.
        batches: the numbers of this step's batches; their mean counts.
        processes: that share them.
    """

    def __init__(self, values: list[Tensor], loss: Loss, batches: Sequence[int], processes: Processes = ALONE) -> None:
        self._values, self._loss, self._batches = values, loss, batches
        self.processes = processes
        self.last = float("nan")

    def backward(self) -> None:
        """Put the gradients of this process's batches into the values."""
        total = 0.0
        for batch in self.processes.share(self._batches):
            for part in _parts(self._loss(self._values, batch)):
                value = part / len(self._batches)
                value.backward()
                total += float(value.detach())
        self.last = self.processes.total(total)

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

    def advance(self, loss: StepLoss, lr: float, clip: float) -> Tensor:
        """One step, with gradients clipped to a norm; what comes back must be finite."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`; a LookupError or ValueError says that it is of something else."""


def fitting(state: Mapping[str, Tensor], name: str, shape: Sequence[int]) -> Tensor:
    """A tensor of a saved state.

    Raises:
        KeyError: there is none of this name.
        ValueError: it has another shape.
    """
    if (tensor := state[name]).shape != torch.Size(shape):
        raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, not {tuple(shape)}")
    return tensor


class Adam:
    """Adam over some tensors.

    Args:
        values: the tensors; changed in place.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = list(values)
        self._adam = torch.optim.Adam(self.groups(), fused=True)

    def advance(self, loss: StepLoss, lr: float, clip: float) -> Tensor:
        """One step; the norm of the gradient before clipping."""
        self._zero()
        loss.backward()
        self._gather(loss.processes)
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

    def _gather(self, processes: Processes) -> None:
        """Have the gradients of all processes."""
        processes.add_gradients(self._values)

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
            shapes = {"step": (), "exp_avg": value.shape, "exp_avg_sq": value.shape}
            self._adam.state[value] = {
                key: fitting(state, f"{index}.{key}", shape).to(value.device) for key, shape in shapes.items()
            }
