"""Conversion: a delta is tuned, without labels, until it computes what another one computes on the same PLM; no subspace.

    min_theta  mean over x of |f_target(x; theta) - f_source(x)|^2

f is what the PLM decides by (`Family.decision`), x inputs whose targets are never read. The source decides on all inputs once,
before the first step. What is judged, on inputs that were held out, is the share of the source's change that the target misses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from deltaspace.arguments import check_seed
from deltaspace.backbone import Backbone
from deltaspace.checkpoints.closed_form import closed_forms
from deltaspace.checkpoints.followed import Agreement, Followed
from deltaspace.checkpoints.function import Function, function_of, states_of
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.registry import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.scoring import score
from deltaspace.seeds import derived_seed
from deltaspace.storage import digest
from deltaspace.tasks.task import Example, Kind, Task, unlabeled
from deltaspace.training import NO_RESUME, Batches, Fit, Resume, Score, Training, fit

if TYPE_CHECKING:
    from peft import PeftConfig


class Conversion(Training):
    """How deltas are converted."""

    held_out: int = Field(default=256, ge=1, description="inputs on which agreement is judged, and none are tuned on")
    inputs: int = Field(default=4000, ge=1, description="largest number of inputs that are tuned on; which ones is drawn")
    enough: float = Field(default=1e-6, ge=0, description="share missed at which nothing is tuned: the closed form is the answer")
    closed_form: bool = Field(default=True, description="start from the closed form, where the target has one")


class Scores(NamedTuple):
    """Of the two deltas on one task."""

    source: Score
    target: Score


@dataclass(frozen=True)
class Converted:
    """A delta that computes what another delta computes.

    Args:
        attached: the target on the PLM.
        parameters: of it, (n,).
        source: the delta that it follows.
        start: how it started.
        before, after: agreement at the start, and at `parameters`.
        scores: on test, where the inputs are a task's.
        metric: of the scores.
        inputs: how many it was tuned on.
        fit: how; None where the closed form was the answer.
    """

    attached: AttachedDelta
    parameters: Float[Tensor, " params"]
    source: str
    start: str
    before: Agreement
    after: Agreement
    scores: Scores | None
    metric: str | None
    inputs: int
    fit: Fit | None


def convert(
    source: tuple[AttachedDelta, Float[Tensor, " params"]],
    target: str | Delta | PeftConfig | AttachedDelta,
    inputs: Sequence[str] | Task,
    settings: Conversion | None = None,
    *,
    prompt: str | None = None,
    seed: int = 0,
    resume: Resume = NO_RESUME,
) -> Converted:
    """Tune a delta until it computes what another one computes; no target is read, and no subspace needed.

    Args:
        source: a delta and its parameters, (n,), such as `deltaspace.checkpoints.load_tuned` gives.
        target: the delta that follows, on the same PLM; its name, itself, or a configuration of peft's such as `LoraConfig(r=8)`.
        inputs: texts; or a task, whose training inputs are tuned on, dev inputs held out and test examples scored.
        settings: `deltaspace.checkpoints.CONVERT` by default; the learning rate is multiplied by the target's `rate`.
        prompt: how texts are put to the model; as they are by default. A task has its own.
        seed: decides the target's initial vector, the order of the inputs, and which texts are held out.
        resume: see `deltaspace.training.fit`.

    Raises:
        DeltaspaceError: source and target are on different PLMs, there are fewer than two inputs, or the PLM decides nothing on
            mere texts.

    Example:
        >>> adapter = attach("adapter", backbone, bottleneck=2)
        >>> tuned = adapter, train(adapter, task, Training(steps=4, lr=0.02, evaluate_every=2)).vector
        >>> made = convert(tuned, "lora", task, Conversion(steps=4, lr=0.01, evaluate_every=2))
        >>> made.after.missed <= made.before.missed
        True
    """
    settings = settings or CONVERT
    check_seed(seed)
    if isinstance(inputs, str) or not (isinstance(inputs, Task) or all(isinstance(text, str) for text in inputs)):
        raise DeltaspaceError(
            "these are no inputs", found=repr(inputs)[:80], expected="a list of texts, or a task: ds.load_task(NAME)"
        )
    follows, parameters = source
    backbone = follows.backbone
    attached = target if isinstance(target, AttachedDelta) else attach(target, backbone, seed=seed)
    if attached.backbone is not backbone:
        raise DeltaspaceError("source and target are on two models", expected="two deltas on one backbone")
    named = isinstance(inputs, Task)
    task = inputs if isinstance(inputs, Task) else task_of_texts(backbone, inputs, settings, prompt, seed)
    train = backbone.family.encode(task, shuffled(task.train, settings.inputs, seed, "tuned on"))
    held = backbone.family.encode(task, shuffled(task.dev, settings.held_out, seed, "held out"))
    followed = Followed(source, attached, held, named and task.ranked and task.kind != "regression")
    resume.tell(0, settings.steps, "the closed form")
    start, how, least = attached.initial, "its initial vector", followed.untuned
    for near, way in closed_forms(source, attached, train) if settings.closed_form else ():
        if (missed := followed.missed(near)) < least:
            start, how, least = near, way, missed
        if least <= settings.enough:
            break
    before = followed.agreement(start)
    tuned = None
    if before.missed > settings.enough:
        resume.tell(0, settings.steps, "what the source decides")
        states = states_of(follows, parameters, train)
        steps = _Steps(attached, function_of(follows, parameters, states), states, followed.change)
        # What is left to be learned is as long as the root of the share that the start misses; longer steps would lose the start.
        paced = settings.model_copy(update={"lr": settings.lr * math.sqrt(before.missed)})
        tuned = _tune(start, steps, followed, paced, seed, resume)
    best = start if tuned is None else tuned.parameters[0]
    scores, metric = None, None
    if named:
        scores, metric = Scores(*(score(*each) for each in ((follows, task, parameters), (attached, task, best)))), task.metric
    return Converted(attached, best, follows.name, how, before, followed.agreement(best), scores, metric, len(train), tuned)


def task_of_texts(backbone: Backbone, texts: Sequence[str], settings: Conversion, prompt: str | None, seed: int) -> Task:
    """Mere texts as what a family encodes, each once; some are held out, of few half.

    Raises:
        DeltaspaceError: a text is empty, there are fewer than two that differ, or the PLM decides nothing on mere texts.
    """
    family = backbone.family
    if family.decides_by == "candidates":
        raise DeltaspaceError(
            f"a {family.name.replace('_', ' ')} decides among label words, which mere texts do not have",
            expected="a task: its folder, demo:NAME or hub:NAME",
        )
    # What is tuned on is not held out.
    texts = list(dict.fromkeys(texts))
    if len(texts) < 2:
        raise DeltaspaceError("conversion needs at least two inputs that differ", found=len(texts))
    # A sentence encoder's embedding, which is what it decides by, depends on no candidates; but its items have some.
    labels = {"yes": "yes", "no": "no"} if family.decides_by == "embedding" else {}
    kind: Kind = "classification" if labels else "generation"
    plain = Task("texts", kind, "accuracy", labels, prompt or "{input}", (), (), (), "texts")
    examples = shuffled(unlabeled(plain, texts), None, seed, "texts")
    count = min(settings.held_out, len(examples) // 2)
    return replace(plain, train=tuple(examples[count:]), dev=tuple(examples[:count]))


def shuffled(examples: Sequence[Example], count: int | None, seed: int, purpose: str) -> list[Example]:
    """So many examples, or all, in an order that the seed decides."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(derived_seed(seed, "convert", purpose)))
    return [examples[index] for index in order[:count].tolist()]


def conversion_fingerprint(
    source: tuple[AttachedDelta, Float[Tensor, " params"]],
    target: Delta,
    inputs: Sequence[str] | Task,
    settings: Conversion,
    prompt: str | None = None,
) -> str:
    """What decides a conversion's numbers, its seed aside: a state of another one is not taken up."""
    attached, parameters = source
    values = hashlib.sha256(parameters.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    texts = inputs.fingerprint if isinstance(inputs, Task) else digest([list(inputs), prompt])
    followed = [attached.backbone.fingerprint, attached.backbone.family.max_length, attached.settings(), attached.seed, values]
    return digest([followed, target.name, target.model_dump(mode="json"), texts, settings.model_dump(mode="json")])


@dataclass(frozen=True)
class _Steps:
    """What a conversion is tuned on.

    Args:
        attached: the target.
        decided: the source's decisions.
        states: on what.
        change: the unit of the loss.
    """

    attached: AttachedDelta
    decided: Function
    states: Sequence[Item]
    change: float


def _tune(start: Tensor, steps: _Steps, followed: Followed, settings: Conversion, seed: int, resume: Resume) -> Fit:
    family, attached = steps.attached.backbone.family, steps.attached
    numbered = [_Numbered(item.input_ids, index) for index, item in enumerate(steps.states)]
    batches = Batches(numbered, settings.batch_size, derived_seed(seed, "convert", "batches"))

    def loss(values: list[Tensor], step: int) -> Tensor:
        rows = [item.index for item in batches.at(step)]
        batch = family.collate([steps.states[row] for row in rows])
        return steps.decided.rows(rows).distance(attached.decision(values[0], batch)).mean() / steps.change

    def evaluate(values: Sequence[Tensor]) -> Score:
        missed = followed.missed(values[0])
        return Score(100 * (1 - missed), missed, len(followed))

    rate = attached.delta.rate
    return fit([start], loss, evaluate, settings.model_copy(update={"lr": settings.lr * rate}), resume=resume)


@dataclass(frozen=True, slots=True, eq=False)
class _Numbered(Item):
    """The tokens of an item, and where it stands.

    Args:
        index: its position.
    """

    index: int


CONVERT = Conversion(steps=800, lr=2e-3, evaluate_every=50, patience=3)
