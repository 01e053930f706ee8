"""What tunes intrinsic vectors: Adam, L-BFGS, and CMA-ES for models that one can only query.

Each tunes several candidates, (d,) each, side by side and apart from one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.training import Adam, Optimizer, Score, StepLoss
from deltaspace.training.optimizer import fitting

if TYPE_CHECKING:
    from cma import CMAEvolutionStrategy

# Steps of which L-BFGS keeps the curvature (Liu & Nocedal 1989, https://doi.org/10.1007/BF01589116: between 3 and 20).
_HISTORY = 10


class CandidateAdam(Adam):
    """Adam whose candidates each have a learning rate and a clipping of their own.

    Args:
        values: the candidates; changed in place.
        factors: of the learning rate, of each.
        seed: not used.
    """

    def __init__(self, values: Sequence[Tensor], factors: Sequence[float], seed: int) -> None:
        super().__init__(values)
        self._factors = list(factors)

    def groups(self) -> list[dict[str, object]]:
        return [{"params": [value]} for value in self._values]

    def _norm(self) -> Tensor:
        return torch.stack([value.grad.norm() for value in self._values if value.grad is not None])

    @torch.no_grad()
    def _move(self, lr: float, scale: Tensor) -> None:
        for value, part in zip(self._values, scale, strict=True):
            assert value.grad is not None
            value.grad *= part
        for group, factor in zip(self._adam.param_groups, self._factors, strict=True):
            group["lr"] = lr * factor
        self._adam.step()


class Lbfgs(CandidateAdam):
    """L-BFGS without line search: one gradient a step, of the same batches at every step. Nothing is clipped.

    See `CandidateAdam` for the arguments.
    """

    def __init__(self, values: Sequence[Tensor], factors: Sequence[float], seed: int) -> None:
        super().__init__(values, factors, seed)
        self._each = [
            torch.optim.LBFGS([value], max_iter=1, history_size=_HISTORY, tolerance_grad=0.0, tolerance_change=0.0)
            for value in self._values
        ]

    def _move(self, lr: float, scale: Tensor) -> None:
        for each, factor in zip(self._each, self._factors, strict=True):
            each.param_groups[0]["lr"] = lr * factor
            # It asks once, and only compares the loss with that of a line search, which it does not do.
            each.step(lambda: torch.zeros(()))

    def state(self) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for index, each in enumerate(self._each):
            for key, entry in each.state[each.param_groups[0]["params"][0]].items():
                if isinstance(entry, list):
                    parts = [part for part in entry if part is not None]
                    kept |= {f"{index}.{key}": torch.stack(parts)} if parts else {}
                else:
                    kept[f"{index}.{key}"] = torch.as_tensor(entry, dtype=None if isinstance(entry, Tensor) else torch.float64)
        return kept

    def load(self, state: dict[str, Tensor]) -> None:
        for index, (each, value) in enumerate(zip(self._each, self._values, strict=True)):
            entries: dict[str, Any] = {"old_dirs": [], "old_stps": [], "ro": []}
            for name, tensor in state.items():
                if name.startswith(f"{index}."):
                    key = name.split(".")[1]
                    wide = key in ("d", "prev_flat_grad", "old_dirs", "old_stps")
                    fitting(state, name, (*tensor.shape[:-1], value.numel()) if wide else tensor.shape)
                    entries[key] = _entry(key, tensor)
            each.state[each.param_groups[0]["params"][0]] = entries


def _entry(key: str, tensor: Tensor) -> Any:
    if key in ("old_dirs", "old_stps", "ro", "al"):
        return [*tensor, *[None] * (_HISTORY - len(tensor))] if key == "al" else list(tensor)
    if key in ("func_evals", "n_iter"):
        return int(tensor)
    return float(tensor) if key in ("t", "prev_loss") else tensor


class Cma:
    """CMA-ES (Hansen 2016, arXiv 1604.00772), which asks for losses only. A step is one generation of every candidate.

    The value of a candidate is the mean of its distribution. See `CandidateAdam` for the arguments; `seed` decides what is drawn.

    Raises:
        DeltaspaceError: the package cma is missing.
    """

    def __init__(self, values: Sequence[Tensor], factors: Sequence[float], seed: int) -> None:
        try:
            import cma
        except ImportError:
            raise DeltaspaceError("the optimizer cma needs the package cma", mend="pip install 'deltaspace[cma]'") from None
        self._cma = cma
        self._values, self._factors, self._seed = list(values), list(factors), seed
        self._starts = [value.detach().double().tolist() for value in values]
        self._each: list[CMAEvolutionStrategy] = []
        self._told: list[Tensor] = []

    def advance(self, loss: StepLoss, lr: float, clip: float) -> Tensor:
        """One generation; its losses."""
        if not self._each:
            self._begin([lr * factor for factor in self._factors])
        asked = [each.ask() for each in self._each]
        losses = [[loss.at([self._tensor(point)]) for point in points] for points in asked]
        told = torch.tensor(losses, dtype=torch.float64)
        if torch.isfinite(told).all():
            self._tell(asked, told)
        return told

    def _begin(self, deviations: Sequence[float]) -> None:
        self._deviations = torch.tensor(deviations, dtype=torch.float64)
        for index, (start, deviation) in enumerate(zip(self._starts, deviations, strict=True)):
            # Its own seed would be that of numpy's one generator, which all candidates share.
            draws = np.random.default_rng([self._seed, index])
            options = {"seed": math.nan, "randn": _normal(draws), "verbose": -9}
            self._each.append(self._cma.CMAEvolutionStrategy(start, deviation, options))

    def _tell(self, asked: Sequence[Sequence[Any]], losses: Tensor) -> None:
        self._told.append(losses)
        for each, value, points, heard in zip(self._each, self._values, asked, losses, strict=True):
            each.tell(points, heard.tolist())
            value.data.copy_(self._tensor(each.mean))

    def _tensor(self, point: Any) -> Tensor:
        return torch.as_tensor(point).to(self._values[0])

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name: the losses that were told, of which all the rest follows."""
        return {"told": torch.stack(self._told), "deviations": self._deviations}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`: the same questions are asked again, and answered from it."""
        self._begin(state["deviations"].tolist())
        for losses in state["told"]:
            self._tell([each.ask() for each in self._each], losses)


def _normal(draws: np.random.Generator) -> Callable[..., Any]:
    return lambda *shape: draws.standard_normal(shape)


OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], Sequence[float], int], Optimizer]] = {
    "adam": CandidateAdam,
    "lbfgs": Lbfgs,
    "cma": Cma,
}


def best_of(scores: Sequence[Score]) -> tuple[int, Score]:
    """The best of the candidates' scores, with its index."""
    index = 0
    for other, score in enumerate(scores):
        if score.better_than(scores[index]):
            index = other
    return index, scores[index]
