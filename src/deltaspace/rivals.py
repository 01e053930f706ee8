"""Other ways of tuning few numbers on a task, trained by the same loop, to stand beside the subspace in its tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, Delta, Lora, Peft
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import train
from deltaspace.subspace import Optimization
from deltaspace.training import Fit, Progress, Training

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.tasks import Task

RANDOM = "random"


@dataclass(frozen=True)
class Rival:
    """A way of tuning few numbers.

    Args:
        source: its paper.
        summary: what it is, and how near to d numbers it can come.
        make: the method, for d numbers and as many places (query and value projections) in the model. None for `random`, whose
            numbers are a point of a random subspace of each delta.
    """

    source: str
    summary: str
    lr: float | None
    make: Callable[[int, int], Delta] | None


def _unilora(dim: int, places: int) -> Delta:
    return Peft(peft="UNILORA", settings={"r": 8, "theta_d_length": dim})


def _tinylora(dim: int, places: int) -> Delta:
    return Peft(peft="TINYLORA", settings={"u": dim, "weight_tying": 1.0})


def _vblora(dim: int, places: int) -> Delta:
    return Peft(peft="VBLORA", settings={"r": 1, "num_vectors": 4, "vector_length": 32, "topk": 2})


def _fourierft(dim: int, places: int) -> Delta:
    return Peft(peft="FOURIERFT", settings={"n_frequency": max(1, dim // places)})


def _lora(dim: int, places: int) -> Delta:
    return Lora(r=1, alpha=2)


RIVALS: dict[str, Rival] = {
    RANDOM: Rival("https://arxiv.org/abs/1804.08838", "a random subspace of each delta, of d numbers", None, None),
    "unilora": Rival("https://arxiv.org/abs/2506.00799", "peft's Uni-LoRA with d numbers", 0.5, _unilora),
    "tinylora": Rival("https://arxiv.org/abs/2602.04118", "peft's TinyLoRA, all modules tied, with d numbers", 0.02, _tinylora),
    "vblora": Rival(
        "https://arxiv.org/abs/2405.15179", "peft's VB-LoRA at rank 1: the fewest numbers it can do with", 0.05, _vblora
    ),
    "fourierft": Rival(
        "https://arxiv.org/abs/2405.03003", "peft's FourierFT, d numbers divided among the modules", 5.0, _fourierft
    ),
    "lora-1": Rival("https://arxiv.org/abs/2106.09685", "LoRA of rank 1", 0.01, _lora),
}


def attach_rival(name: str, dim: int, backbone: Backbone, seed: int = 0) -> AttachedDelta:
    """A rival on a backbone, with d numbers or as near to them as the method allows.

    Raises:
        DeltaspaceError: there is no such rival, or the method does not fit the model.
    """
    if name not in RIVALS or (make := RIVALS[name].make) is None:
        raise DeltaspaceError(f"no rival {name!r} that is a method of its own", expected=", ".join(set(RIVALS) - {RANDOM}))
    # Query and value projections: those that a LoRA of rank 1 goes to.
    places = len(AttachedDelta(Lora(r=1), backbone, seed).layout.entries) // 2
    return AttachedDelta(make(dim, places), backbone, seed)


@dataclass(frozen=True)
class Tuned:
    """What a rival found.

    Args:
        vector: its parameters, (n,).
        factor: of the learning rate.
        fit: how it was found.
    """

    vector: Float[Tensor, " params"]
    factor: float
    fit: Fit


def tune(
    attached: AttachedDelta,
    task: Task,
    settings: Optimization,
    *,
    lr: float,
    seed: int = 0,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Tuned:
    """Train a rival as `optimize` tunes vectors: the same steps, batches and factors; the best on dev is kept.

    Args:
        attached: see `attach_rival`.
        task: what to learn.
        settings: those of the subspace optimization, but for its learning rate.
        lr: the rival's own (`RIVALS`).
        seed: decides the order of the examples.
        checkpoint, fingerprint, progress: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: the training diverges.
    """
    shared = {name: getattr(settings, name) for name in Training.model_fields}
    best: Tuned | None = None
    for factor in settings.factors:
        found = train(
            attached,
            task,
            Training(**{**shared, "lr": lr * factor}),
            seed=seed,
            checkpoint=checkpoint,
            fingerprint=f"{fingerprint} {factor}",
            progress=progress,
        )
        if best is None or found.fit.best.better_than(best.fit.best):
            best = Tuned(found.vector, factor, found.fit)
    assert best is not None
    return best
