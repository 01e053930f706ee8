"""Other ways of tuning few numbers on a task, trained by the same loop, to stand beside the subspace in its tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from deltaspace.arguments import check_seed
from deltaspace.deltas import AttachedDelta, Delta, Lora, Peft
from deltaspace.errors import DeltaspaceError
from deltaspace.registry import Registry
from deltaspace.solutions import train_each
from deltaspace.training import NO_RESUME, Fit, Resume, Training

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.subspace import Optimization
    from deltaspace.tasks import Task


@dataclass(frozen=True)
class Rival:
    """A way of tuning few numbers: a method with numbers of its own, or the points of another subspace.

    Args:
        name: what recipes call it.
        source: its paper.
        summary: what it is, and how near to d numbers it can come.
        lr: its learning rate; the optimization's where it has none of its own.
        make: the method, for d numbers and as many modules (query and value projections) in the model.
        projection: a name of `deltaspace.subspace.PROJECTIONS`: what makes the subspace, of d dimensions, whose points are tuned
            through each delta.

    Raises:
        ValueError: it has neither or both of `make` (which needs `lr`) and `projection`.
    """

    name: str
    source: str
    summary: str
    lr: float | None = None
    make: Callable[[int, int], Delta] | None = None
    projection: str | None = None

    def __post_init__(self) -> None:
        if (self.make is None) == (self.projection is None):
            raise ValueError(f"the rival {self.name} is made either by a method of its own or by a projection")
        if (self.make is None) != (self.lr is None):
            raise ValueError(f"the rival {self.name} has a learning rate just where it has a method of its own")


RIVALS: Registry[Rival] = Registry("rival", Rival, "deltaspace.rivals", objects=True)

RIVALS.register(
    Rival(
        name="random",
        source="https://arxiv.org/abs/1804.08838",
        summary="a random subspace of each delta, of d numbers",
        projection="gaussian",
    )
)
RIVALS.register(
    Rival(
        name="unilora",
        source="https://arxiv.org/abs/2506.00799",
        summary="peft's Uni-LoRA with d numbers",
        lr=0.5,
        make=lambda dim, modules: Peft(peft="UNILORA", settings={"r": 8, "theta_d_length": dim}),
    )
)
RIVALS.register(
    Rival(
        name="tinylora",
        source="https://arxiv.org/abs/2602.04118",
        summary="peft's TinyLoRA, all modules tied, with d numbers",
        lr=0.02,
        make=lambda dim, modules: Peft(peft="TINYLORA", settings={"u": dim, "weight_tying": 1.0}),
    )
)
RIVALS.register(
    Rival(
        name="vblora",
        source="https://arxiv.org/abs/2405.15179",
        summary="peft's VB-LoRA at rank 1: the fewest numbers it can do with",
        lr=0.05,
        make=lambda dim, modules: Peft(peft="VBLORA", settings={"r": 1, "num_vectors": 4, "vector_length": 32, "topk": 2}),
    )
)
RIVALS.register(
    Rival(
        name="fourierft",
        source="https://arxiv.org/abs/2405.03003",
        summary="peft's FourierFT, d numbers divided among the modules",
        lr=5.0,
        make=lambda dim, modules: Peft(peft="FOURIERFT", settings={"n_frequency": max(1, dim // modules)}),
    )
)
RIVALS.register(
    Rival(
        name="lora-1",
        source="https://arxiv.org/abs/2106.09685",
        summary="LoRA of rank 1",
        lr=0.01,
        make=lambda dim, modules: Lora(r=1, alpha=2),
    )
)


def attach_rival(name: str, dim: int, backbone: Backbone, seed: int = 0) -> AttachedDelta:
    """A rival on a backbone, with d numbers or as near to them as the method allows.

    Raises:
        DeltaspaceError: there is no such rival, or the method does not fit the model.
    """
    check_seed(seed)
    make = RIVALS[name].make if name in RIVALS else None
    if make is None:
        methods = [rival.name for rival in RIVALS.values() if rival.make is not None]
        raise DeltaspaceError(f"no rival {name!r} that is a method of its own", expected=", ".join(methods))
    # Query and value projections are the modules that a LoRA of rank 1 goes to, by an A and a B each.
    modules = len(AttachedDelta(Lora(r=1), backbone, seed).layout.entries) // 2
    return AttachedDelta(make(dim, modules), backbone, seed)


@dataclass(frozen=True)
class Tuned:
    """What came of a rival on a task.

    Args:
        vector: its parameters, (n,).
        factor: of the learning rate.
        fit: how it was trained.
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
    resume: Resume = NO_RESUME,
) -> Tuned:
    """Train a rival as `optimize` tunes vectors: the same steps, batches and factors; the best on dev is kept.

    Args:
        attached: see `attach_rival`.
        task: what to learn.
        settings: those of the subspace optimization, but for its learning rate.
        lr: the rival's (`RIVALS`).
        seed: decides the order of the examples.
        resume: see `deltaspace.training.fit`; each factor has a state of its own, so that finished ones are not trained again.

    Raises:
        DeltaspaceError: the training diverges.
    """
    return tune_each(attached, [task], settings, lr=lr, seed=seed, resumes=[resume])[0]


def tune_each(
    attached: AttachedDelta, tasks: Sequence[Task], settings: Optimization, *, lr: float, seed: int, resumes: Sequence[Resume]
) -> list[Tuned]:
    """The same for each of several tasks, side by side where the rival's method can (`solutions.train_each`)."""
    shared = {name: getattr(settings, name) for name in Training.model_fields}
    best: list[Tuned | None] = [None] * len(tasks)
    parts = {factor: [resume.part(factor) for resume in resumes] for factor in settings.factors}
    for factor, each in parts.items():
        solutions = train_each(attached, tasks, Training(**{**shared, "lr": lr * factor}), seed=seed, resumes=each)
        for index, solution in enumerate(solutions):
            before = best[index]
            if before is None or solution.fit.best.better_than(before.fit.best):
                best[index] = Tuned(solution.vector, factor, solution.fit)
    for part in itertools.chain.from_iterable(parts.values()):
        part.forget()
    return [tuned for tuned in best if tuned is not None]
