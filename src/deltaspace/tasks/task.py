"""A task: examples of input text and target text, in three splits, with the metric that judges them."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, get_args

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import digest

Kind = Literal["classification", "multiple_choice", "regression", "qa", "generation"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# With no kind given, targets are taken for labels when there are at most this many of them ...
_MOST_LABELS = 50
# ... and each is met in training this often on average.
_LEAST_EXAMPLES_PER_LABEL = 5

DEFAULT_METRICS: dict[Kind, str] = {
    "classification": "accuracy",
    "multiple_choice": "accuracy",
    "regression": "pearson",
    "qa": "qa_f1",
    "generation": "rouge_l",
}


@dataclass(frozen=True)
class Example:
    """One input with its target; `options` are the answers to choose from, for multiple choice."""

    input: str
    target: str
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """A task every delta can be trained on and judged by.

    Args:
        name: how it is called in files, tables and vectors.
        kind: classification, multiple choice and regression are decided by ranking candidates, qa and generation by generating.
        metric: a name of `deltaspace.tasks.METRICS`.
        labels: label -> label words (the text a model reads for it), in a fixed order; empty unless the kind has fixed labels.
        prompt: how the input is put to the model, with `{input}` and, for masked encoders, `{mask}`; None is the family's own.
        train, dev, test: the examples.
        source: where it came from, for messages.
    """

    name: str
    kind: Kind
    metric: str
    labels: dict[str, str]
    prompt: str | None
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str

    def split(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]

    def candidates(self, example: Example) -> tuple[str, ...]:
        """The answers among which `example` is decided; empty for tasks that are generated."""
        return example.options or tuple(self.labels)

    @property
    def ranked(self) -> bool:
        """Whether predictions are chosen from candidates (else they are generated)."""
        return self.kind in ("classification", "multiple_choice", "regression")

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that training and scoring see."""
        splits = {split: [[e.input, e.target, e.options] for e in self.split(split)] for split in SPLITS}
        return digest([self.name, self.kind, self.metric, self.labels, self.prompt, splits])


def few_shot(task: Task, shots: int) -> Task:
    """The task with `shots` training and as many dev examples, labels in equal parts; they are drawn from the task's name.

    Raises:
        DeltaspaceError: there are fewer.
    """
    kept = {}
    for split in ("train", "dev"):
        examples = task.split(split)
        if len(examples) < shots:
            raise DeltaspaceError(f"task {task.name} has no {shots} {split} examples", found=len(examples), mend="lower 'shots'")
        drawn = random.Random(f"{task.name} {split}").sample(examples, len(examples))
        places: Counter[str] = Counter()
        keys = []
        for example in drawn:
            keys.append(places[example.target])
            places[example.target] += 1
        # Every label's first example, then every label's second one ...; targets without labels are all first.
        order = sorted(range(len(drawn)), key=lambda index: keys[index] if task.labels else 0)
        kept[split] = tuple(drawn[index] for index in order[:shots])
    return replace(task, train=kept["train"], dev=kept["dev"])


def make_task(
    name: str,
    splits: dict[Split, list[Example]],
    *,
    source: str,
    kind: Kind | None = None,
    metric: str | None = None,
    labels: list[str] | dict[str, str] | None = None,
    prompt: str | None = None,
    limits: dict[Split, int] | None = None,
) -> Task:
    """Check the examples, fill in kind, metric and labels where they were left out, cut each split to its first examples.

    Raises:
        DeltaspaceError: an empty split, a target that is no label or no option, a target that is not a number in a regression.
    """
    for split in SPLITS:
        if not splits[split]:
            raise DeltaspaceError(
                f"task {name}: its {split} split is empty", found=f"no examples in {source}", expected="at least one example"
            )
    kind = kind or infer_kind(splits["train"])
    named = _labels(name, kind, labels, splits["train"])
    for split in SPLITS:
        for number, example in enumerate(splits[split], start=1):
            _check_target(name, kind, named, example, f"{source}, {split} example {number}")
    cut = {split: tuple(splits[split][: (limits or {}).get(split)]) for split in SPLITS}
    return Task(name, kind, metric or DEFAULT_METRICS[kind], named, prompt, cut["train"], cut["dev"], cut["test"], source)


def infer_kind(train: list[Example]) -> Kind:
    """Multiple choice where examples have options, classification where few targets repeat often, else generation."""
    if train[0].options is not None:
        return "multiple_choice"
    targets = Counter(example.target for example in train)
    if len(targets) <= _MOST_LABELS and len(train) / len(targets) >= _LEAST_EXAMPLES_PER_LABEL:
        return "classification"
    return "generation"


def _labels(name: str, kind: Kind, given: list[str] | dict[str, str] | None, train: list[Example]) -> dict[str, str]:
    if kind in ("qa", "generation", "multiple_choice"):
        if given:
            raise DeltaspaceError(
                f"task {name}: labels are given for a {kind} task",
                found=list(given),
                expected="no labels",
                mend="remove 'labels' or set 'kind: classification'",
            )
        return {}
    if isinstance(given, dict):
        return dict(given)
    return {label: label for label in given or sorted({example.target for example in train})}


def _check_target(name: str, kind: Kind, labels: dict[str, str], example: Example, where: str) -> None:
    if kind == "regression" and not is_number(example.target):
        raise DeltaspaceError(f"task {name}: {where}: the target is not a number", found=example.target, expected="a number")
    allowed = example.options if kind == "multiple_choice" else tuple(labels)
    if kind == "multiple_choice" and not example.options:
        raise DeltaspaceError(f"task {name}: {where}: no options", expected='"options": [str, …] in every example')
    if allowed and example.target not in allowed:
        raise DeltaspaceError(
            f"task {name}: {where}: the target is not one of the {'options' if example.options else 'labels'}",
            found=example.target,
            expected=", ".join(allowed),
            mend="correct the example, or list every label under 'labels' in the recipe",
        )


def is_number(text: str) -> bool:
    """Whether `text` reads as a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
