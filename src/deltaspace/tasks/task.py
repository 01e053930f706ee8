"""A task: examples of input text and target text, in three splits, with the metric that judges them."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from deltaspace.errors import DeltaspaceError
from deltaspace.names import check_name
from deltaspace.storage import digest
from deltaspace.tasks.metrics import METRICS

Kind = Literal["classification", "multiple_choice", "regression", "qa", "generation"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# With no kind given, targets are taken for labels when there are at most this many of them ...
_MOST_LABELS = 50
# ... and each is met in training this often on average.
_LEAST_EXAMPLES_PER_LABEL = 5

_RANKED: tuple[Kind, ...] = ("classification", "multiple_choice", "regression")
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


@dataclass(frozen=True, repr=False)
class Task:
    """A task every delta can be trained on and judged by.

    Args:
        name: how it is called in files, tables and vectors.
        kind: classification, multiple choice and regression are decided by ranking candidates, qa and generation by generating.
        metric: a name of `deltaspace.tasks.METRICS`.
        labels: label -> label words (the text a model reads for it), in a fixed order; empty unless the kind has fixed labels.
        prompt: how the input is put to the model, with `{input}` and, for masked encoders, `{mask}`; None is the family's own.
        train: the examples that are trained on.
        dev: those on which the best step is chosen.
        test: those on which scores are reported.
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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(self.split(split))} {split}" for split in SPLITS)
        return f"Task({self.name!r}, {self.kind}, {self.metric}, {sizes})"

    def split(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split.

        Raises:
            DeltaspaceError: there is no such split.
        """
        splits = {"train": self.train, "dev": self.dev, "test": self.test}
        if split not in splits:
            raise DeltaspaceError(f"no split {split!r}", found=f"task {self.name}", expected=", ".join(splits))
        return splits[split]

    def candidates(self, example: Example) -> tuple[str, ...]:
        """The answers among which `example` is decided; empty for tasks that are generated."""
        return example.options or tuple(self.labels)

    @property
    def ranked(self) -> bool:
        """Whether predictions are chosen from candidates (else they are generated)."""
        return self.kind in _RANKED

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that training and scoring see."""
        splits = {split: [[e.input, e.target, e.options] for e in self.split(split)] for split in SPLITS}
        return digest([self.name, self.kind, self.metric, self.labels, self.prompt, splits])


def drawn_in_turn(task: Task, split: Split, purpose: str) -> list[Example]:
    """A split in an order that the task's name and a purpose decide: every label's first example, then every label's second, …;
    without labels as it is drawn.
    """
    examples = task.split(split)
    drawn = random.Random(f"{task.name} {purpose}").sample(examples, len(examples))
    seen: Counter[str] = Counter()
    turns = []
    for example in drawn:
        turns.append(seen[example.target])
        seen[example.target] += 1
    order = sorted(range(len(drawn)), key=lambda index: turns[index] if task.labels else 0)
    return [drawn[index] for index in order]


def few_shot(task: Task, shots: int) -> Task:
    """The task with `shots` training and as many dev examples, labels in equal parts; they are drawn from the task's name.

    Raises:
        DeltaspaceError: there are fewer, or none are asked for.
    """
    if shots < 1:
        raise DeltaspaceError(f"task {task.name}: few-shot needs examples", found=f"shots={shots}", expected="1 or more")
    kept = {}
    for split in ("train", "dev"):
        examples = task.split(split)
        if len(examples) < shots:
            raise DeltaspaceError(f"task {task.name} has no {shots} {split} examples", found=len(examples), mend="lower 'shots'")
        kept[split] = tuple(drawn_in_turn(task, split, split)[:shots])
    return replace(task, train=kept["train"], dev=kept["dev"])


def unlabeled(task: Task, inputs: Sequence[str]) -> list[Example]:
    """Texts as examples of a task, for what reads no targets; an example must have one, so each has the first label.

    Raises:
        DeltaspaceError: a text is empty, or the task's examples have options of their own.
    """
    if task.kind == "multiple_choice":
        raise DeltaspaceError(
            f"task {task.name}: texts alone are no examples", found="a multiple-choice task", expected="options"
        )
    if empty := [number for number, text in enumerate(inputs, start=1) if not text.strip()]:
        raise DeltaspaceError(f"task {task.name}: input {empty[0]} is empty", expected="a text")
    return [Example(text, next(iter(task.labels), "")) for text in inputs]


def make_task(
    name: str,
    splits: Mapping[str, Sequence[Example]],
    *,
    source: str,
    kind: Kind | None = None,
    metric: str | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    prompt: str | None = None,
    limits: Mapping[str, int] | None = None,
) -> Task:
    """Check the examples, fill in kind, metric and labels where they were left out, cut each split to its first examples.

    It has as many parameters as a recipe can say of a task.

    Args:
        name: letters, digits and _ . -
        splits: the examples of train, dev and test.
        source: where it came from, for messages.
        kind: inferred from the examples by default.
        metric: the kind's by default.
        labels: of a ranked task, with the words that the model reads if they are others; those of the examples by default.
        prompt: how the input is put to the model; the family's by default.
        limits: most examples of each split.

    Raises:
        DeltaspaceError: no such name; an input, target, option or label that is no text; no such metric, or one that is not for
            tasks of this kind; a limit below 1; a missing or empty split; a target that is no label or no option; in a
            regression, a target, a label or an option that is not a number.
    """
    try:
        check_name("a task", name)
    except ValueError as error:
        raise DeltaspaceError(str(error), mend="give the task another name") from None
    for split in SPLITS:
        _check_split(name, split, splits)
        if not splits[split]:
            raise DeltaspaceError(
                f"task {name}: its {split} split is empty", found=f"no examples in {source}", expected="at least one example"
            )
        _check_texts(name, split, splits[split])
    if labels is not None and (wrong_label := next((key for key in labels if not isinstance(key, str)), None)) is not None:
        raise DeltaspaceError(f"task {name}: a label is no text", found=repr(wrong_label), expected=repr(str(wrong_label)))
    kind = kind or infer_kind(splits["train"])
    if kind not in DEFAULT_METRICS:
        raise DeltaspaceError(f"task {name}: no kind {kind!r}", expected=", ".join(DEFAULT_METRICS))
    judge = METRICS.find(metric or DEFAULT_METRICS[kind])
    if judge.kinds is not None and kind not in judge.kinds:
        raise DeltaspaceError(
            f"task {name}: the metric {judge.name} is not for a {kind} task",
            expected=f"a task of the kind {' or '.join(judge.kinds)}",
            mend=f"another metric, such as {DEFAULT_METRICS[kind]}, or another kind",
        )
    named = _labels(name, kind, labels, splits["train"])
    for split in SPLITS:
        for number, example in enumerate(splits[split], start=1):
            _check_target(name, kind, named, example, f"{source}, {split} example {number}")
    if wrong := {split: limit for split, limit in (limits or {}).items() if split not in SPLITS or limit < 1}:
        raise DeltaspaceError(
            f"task {name}: wrong limits", found=str(wrong), expected="1 or more for each of " + ", ".join(SPLITS)
        )
    cut = {split: tuple(splits[split])[: (limits or {}).get(split)] for split in SPLITS}
    return Task(name, kind, judge.name, named, prompt, cut["train"], cut["dev"], cut["test"], source)


def infer_kind(train: Sequence[Example]) -> Kind:
    """Multiple choice where examples have options, classification where few targets repeat often, else generation."""
    if train[0].options is not None:
        return "multiple_choice"
    targets = Counter(example.target for example in train)
    if len(targets) <= _MOST_LABELS and len(train) / len(targets) >= _LEAST_EXAMPLES_PER_LABEL:
        return "classification"
    return "generation"


def _check_texts(name: str, split: Split, examples: Sequence[Example]) -> None:
    for number, example in enumerate(examples, start=1):
        for said, value in (
            ("input", example.input),
            ("target", example.target),
            *(("option", o) for o in example.options or ()),
        ):
            if not isinstance(value, str):
                raise DeltaspaceError(
                    f"task {name}: the {said} of {split} example {number} is no text",
                    found=f"{value!r}, {type(value).__name__}",
                    expected="a str",
                    mend="write numbers as texts, such as '1'; labels={'1': 'positive', ...} says what they mean",
                )


def _check_split(name: str, split: Split, splits: Mapping[str, Sequence[Example]]) -> None:
    if split not in splits:
        raise DeltaspaceError(
            f"task {name}: its {split} split is missing", found=", ".join(splits) or "no split", expected=", ".join(SPLITS)
        )
    examples: object = splits[split]
    if not isinstance(examples, Sequence):
        raise DeltaspaceError(
            f"task {name}: its {split} split is no sequence", found=type(examples).__name__, expected="a list of Example"
        )
    for number, example in enumerate(examples, start=1):
        if not isinstance(example, Example):
            raise DeltaspaceError(
                f"task {name}: {split} example {number} is no Example",
                found=repr(example)[:80],
                expected="Example(input, target)",
            )


def check_labels(given: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
    """Labels, or label: words, if they can be told apart, by people and by models.

    Raises:
        ValueError: there are fewer than two, two are the same or are read as the same words, or one is empty.
    """
    words = list(given.values()) if isinstance(given, dict) else []
    for texts, what in ((list(given), "the label {!r} stands twice"), (words, "two labels are read as {!r}")):
        if twice := [text for text, count in Counter(texts).items() if count > 1]:
            raise ValueError(what.format(twice[0]))
    if not all(text.strip() for text in (*given, *words)):
        raise ValueError("a label is an empty text")
    if len(given) < 2:
        raise ValueError("a task has two labels or more; leave them out to take those of the examples")
    return given


def _labels(name: str, kind: Kind, given: Sequence[str] | Mapping[str, str] | None, train: Sequence[Example]) -> dict[str, str]:
    if isinstance(given, str):
        raise DeltaspaceError(f"task {name}: labels are a list, or label: words", found=repr(given), expected=f"[{given!r}, …]")
    if kind in ("qa", "generation", "multiple_choice"):
        if given:
            raise DeltaspaceError(
                f"task {name}: labels are given for a {kind} task",
                found=list(given),
                expected="no labels",
                mend="remove 'labels' or set 'kind: classification'",
            )
        return {}
    try:
        check_labels(dict(given) if isinstance(given, Mapping) else list(given)) if given is not None else None
    except ValueError as error:
        raise DeltaspaceError(f"task {name}: {error}", found=list(given or ())[:8], mend="correct 'labels'") from None
    labels = dict(given) if isinstance(given, Mapping) else {label: label for label in given or sorted({e.target for e in train})}
    if kind == "classification" and len(labels) < 2:
        raise DeltaspaceError(
            f"task {name}: all its training examples have one target",
            found=next(iter(labels)),
            expected="two labels or more: whatever is answered would be right",
            mend="list every label under 'labels' in the recipe, or set 'kind: generation'",
        )
    if kind == "regression":
        # Labels that were given: those of the examples are checked with them, which tells where they are.
        _check_numbers(
            list(given or []), f"task {name}: a label of a regression is not a number", "correct 'labels' in the recipe"
        )
    return labels


def _check_numbers(texts: Sequence[str], what: str, mend: str | None = None) -> None:
    if wrong := [text for text in texts if not is_number(text)]:
        raise DeltaspaceError(what, found=", ".join(map(repr, wrong[:5])), expected="a number", mend=mend)


def _check_target(name: str, kind: Kind, labels: dict[str, str], example: Example, where: str) -> None:
    if kind == "regression":
        _check_numbers([example.target], f"task {name}: {where}: the target is not a number")
        _check_numbers(example.options or (), f"task {name}: {where}: an option of a regression is not a number")
    # What `Task.candidates` gives for kinds that are ranked.
    allowed = example.options or tuple(labels) if kind in _RANKED else ()
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
