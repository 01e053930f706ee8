"""Translation: an intrinsic vector is tuned, without labels, until one delta answers what another one answers.

    min_I  mean over x of |a_to(x; theta0_to + up_to(I)) - a_from(x; v)|^2

a is what the PLM answers to the task (`Family.answer`: the square roots of the candidates' or the next token's probabilities), v
the vector that was tuned through the delta `from`, x the inputs of the task: their targets are never read. Where the answer is
written, both answer token by token behind what `from` writes itself, and a is of all these tokens. Far from the codes v
may decode as something that has nothing to do with it: so I begins at v, and at the mean of the source tasks' codes; both are
tuned side by side, and what misses less on held-out inputs is kept. Unlike transfer, d numbers are trained, so its scores stand
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.arguments import check_seed
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.subspace.agreement import answers, answers_of, probe_seed
from deltaspace.subspace.stages.searchers import CandidateAdam, best_of
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.task import Task, unlabeled
from deltaspace.training import NO_RESUME, Batches, Fit, Resume, Score, Training, fit

# Of a written answer so many tokens are followed.
_TOKENS = 16

Start = Literal["transferred", "mean"]


class Translation(Training):
    """How vectors are translated."""

    lr: float = Field(default=5e-2, gt=0, description="peak learning rate")
    starts: tuple[Start, ...] = Field(
        default=("transferred", "mean"),
        min_length=1,
        description="the vector as it is, the mean of the source tasks' codes: tuned side by side; what misses less is kept",
    )
    held_out: int = Field(default=64, ge=1, description="inputs on which agreement is judged, and none are tuned on")


@dataclass(frozen=True)
class Translated:
    """An intrinsic vector that makes one delta answer a task as another does.

    Args:
        vector: I, (d,).
        source: the delta that it follows.
        delta: the delta that it is for.
        task: the task whose inputs it was tuned on.
        start: where the best began: transferred (the vector as it is), or mean.
        before: at the transferred vector, the share of the change that `source` makes to the PLM's answers which `delta` misses,
            on held-out inputs: 0 is the same function, 1 as far from it as the untuned PLM.
        after: that share at `vector`.
        fit: how it was tuned.
    """

    vector: Float[Tensor, " dim"]
    source: str
    delta: str
    task: str
    start: Start
    before: float
    after: float
    fit: Fit


def translate(
    subspace: Subspace,
    vector: Float[Tensor, " dim"],
    deltas: tuple[AttachedDelta, AttachedDelta],
    task: Task,
    settings: Translation | None = None,
    *,
    inputs: Sequence[str] | None = None,
    seed: int = 0,
    resume: Resume = NO_RESUME,
) -> Translated:
    """Tune a vector, from where it is, until the second delta answers as the first does at it. No labels are read.

    Args:
        subspace: frozen.
        vector: tuned through the first delta.
        deltas: the one that is followed and the one that follows.
        task: its prompt, its label words, and its training inputs.
        settings: `deltaspace.subspace.TRANSLATE` by default.
        inputs: texts in place of the task's training inputs.
        seed: decides the order of the inputs, and which are held out.
        resume: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: a delta is not the subspace's, both are one, or there are fewer than two inputs.

    Example:
        >>> deltas = attach("lora", backbone, r=2), attach("adapter", backbone, bottleneck=2)
        >>> subspace = approximate(deltas, [], [], dim=3, projection="gaussian")
        >>> moved = translate(subspace, torch.ones(3), deltas, task, Translation(steps=4, lr=0.1, evaluate_every=2))
        >>> moved.after <= moved.before
        True
    """
    settings = settings or TRANSLATE
    check_seed(seed)
    source, target = deltas
    for attached in deltas:
        subspace.check(attached)
    if source.name == target.name:
        raise DeltaspaceError(f"{source.name} needs no translation to itself", expected="two deltas of the subspace")
    examples = list(task.train) if inputs is None else unlabeled(task, inputs)
    if len(examples) < 2:
        raise DeltaspaceError("translation needs at least two inputs", found=len(examples))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(probe_seed(seed, "held out", task.name)))
    items = source.backbone.family.encode(task, [examples[index] for index in order.tolist()])
    # Of few inputs, half.
    count = min(settings.held_out, len(items) // 2)
    batches = Batches(items[count:], settings.batch_size, probe_seed(seed, "translation", task.name))
    followed = subspace.decode(source.name, vector)
    judged = _Judged(source, target, followed, source.written(followed, items[:count], _TOKENS))
    begun: dict[Start, Tensor] = {"transferred": vector.detach().float().clone(), "mean": subspace.mean_code(target.name)}
    before = judged.score(subspace.decode(target.name, begun["transferred"])).loss

    def loss(values: list[Tensor], step: int) -> Tensor:
        items = source.written(followed, batches.at(step), _TOKENS)
        with torch.no_grad():
            wanted = source.answer(followed, source.backbone.family.collate(items))
        batch = source.backbone.family.collate(items * len(values))
        answered = target.answer(subspace.decode(target.name, torch.stack(values)), batch).unflatten(0, (len(values), -1))
        # The sum over candidates: each has the gradient that it would have alone.
        return (answered - wanted).square().sum(2).mean(1).sum() / judged.change

    def scores(values: Sequence[Tensor]) -> list[Score]:
        return [judged.score(subspace.decode(target.name, value)) for value in values]

    starts = list(dict.fromkeys(settings.starts))
    tuned = fit(
        [begun[start] for start in starts],
        loss,
        lambda values: best_of(scores(values))[1],
        settings,
        optimizer=lambda values: CandidateAdam(values, [1.0] * len(values), seed),
        resume=resume,
    )
    index, score = best_of(scores(tuned.parameters))
    return Translated(tuned.parameters[index], source.name, target.name, task.name, starts[index], before, score.loss, tuned)


class _Judged:
    """How far one delta misses what another does, on held-out inputs.

    Args:
        source: the delta that is followed.
        target: the delta that follows.
        followed: parameters of `source`, (n,).
        items: encoded inputs, with what the source writes where answers are written.
    """

    def __init__(
        self, source: AttachedDelta, target: AttachedDelta, followed: Float[Tensor, " params"], items: Sequence[Item]
    ) -> None:
        self._target, self._items = target, items
        self._wanted: list[Tensor] = []
        change = 0.0
        backbone = source.backbone
        answered = answers(source, followed.unsqueeze(0), items), answers_of(backbone.model, backbone, items)
        for [wanted], untuned in zip(*answered, strict=True):
            self._wanted.append(wanted)
            change += float((wanted - untuned).square().sum())
        # 1 where the tuned delta leaves the PLM as it was: then misses are told in units of squared answers.
        self.change = change / len(items) or 1.0

    def score(self, parameters: Float[Tensor, " params"]) -> Score:
        """The share that is missed, as a loss, and what is not, in percent."""
        answered = answers(self._target, parameters.unsqueeze(0), self._items)
        apart = sum(float((ours[0] - theirs).square().sum()) for ours, theirs in zip(answered, self._wanted, strict=True))
        missed = apart / len(self._items) / self.change
        return Score(100 * (1 - missed), missed, len(self._items))


# Measured on MiniLM (docs/results.md, "Translation, by what is answered").
TRANSLATE = Translation(steps=300, lr=5e-2, batch_size=8, evaluate_every=50)
