"""What the two text-to-text families share: targets as tokens, answers that are written, and the likelihood of candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.families.batch import Item
from deltaspace.families.family import AnyBatch, Family
from deltaspace.families.losses import IGNORED, part_losses
from deltaspace.families.ranking import Choice, candidate_texts, choices, roots
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Candidates scored in one pass, of each item one at least: bounds memory when a task has many labels.
_ROWS = 256
# Texts that are continued in one pass.
_WRITTEN = 64
# States of one item: all beginnings of few short candidates, or of a short answer.
_STATES = 8
# Generation may write this many tokens more than the longest target of training.
_ROOM = 4


@dataclass(frozen=True, slots=True, eq=False)
class TextItem(Item):
    """An example of a text-to-text family, ranked or generated.

    Args:
        target_ids: the tokens of the target.
    """

    target_ids: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class RankedText(TextItem):
    """An example that is decided by the likelihood of its candidates.

    Args:
        choice: the candidates.
        candidate_ids: the tokens of each.
    """

    choice: Choice
    candidate_ids: list[list[int]]

    @property
    def length(self) -> int:
        """The input and its candidates, each without its last token, which is only predicted."""
        return len(self.input_ids) + sum(len(ids) - 1 for ids in self.candidate_ids)


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedText(TextItem):
    """An example whose answer is written.

    Args:
        max_new_tokens: how long it may be.
    """

    max_new_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class BegunText(TextItem):
    """An example whose answer is begun: what is decided is how it goes on.

    Args:
        begun: the tokens that are there.
    """

    begun: list[int]


def begun(item: TextItem) -> list[int]:
    """What is there of its answer when `Family.decision` is asked."""
    return item.begun if isinstance(item, BegunText) else []


def encode_texts(
    family: Family[Any, Any],
    task: Task,
    examples: Sequence[Example],
    input_ids: Sequence[list[int]],
    tokenize: Callable[[list[str]], list[list[int]]],
) -> list[TextItem]:
    """Items of a text-to-text family.

    Args:
        family: whose tokenizer made the tokens.
        task: what the examples are of.
        examples: what is encoded.
        input_ids: of each example.
        tokenize: makes tokens of targets and candidates.

    Raises:
        DeltaspaceError: a label word has characters that the tokenizer does not know.
    """
    texts = {text for example in examples for text in candidate_texts(task, example)}
    texts |= {task.labels.get(example.target, example.target) for example in examples}
    longest = [] if task.ranked else sorted({example.target for example in task.train}, key=len)[-50:]
    unique = sorted(texts | set(longest))
    ids = dict(zip(unique, tokenize(unique), strict=True))
    _check_words(family, task, ids)
    targets = [ids[task.labels.get(example.target, example.target)] for example in examples]
    if not task.ranked:
        most_tokens = max((len(ids[text]) for text in longest), default=0) + _ROOM
        return [GeneratedText(*tokens, most_tokens) for tokens in zip(input_ids, targets, strict=True)]
    return [
        RankedText(tokens, target, choice, [ids[text] for text in candidate_texts(task, example)])
        for tokens, target, choice, example in zip(input_ids, targets, choices(task, examples), examples, strict=True)
    ]


def _check_words(family: Family[Any, Any], task: Task, ids: dict[str, list[int]]) -> None:
    unknown = family.tokenizer.unk_token_id
    for word in task.labels.values():
        if unknown is not None and word in ids and unknown in ids[word]:
            raise DeltaspaceError(
                f"task {task.name}: the label word {word!r} cannot be produced by this model",
                found="characters that its tokenizer does not know",
                expected="label words made of its vocabulary",
                mend="give other words under 'labels: {label: word}' in the recipe",
            )


def ranked_items(items: Sequence[Item]) -> list[RankedText]:
    """The items of a batch, if they are ranked; none, if they are generated."""
    return [item for item in items if isinstance(item, RankedText)]


def most_new_tokens(items: Sequence[TextItem]) -> int:
    """How many tokens generation may write for a batch."""
    return max(item.max_new_tokens for item in items if isinstance(item, GeneratedText))


class TextFamily(Family[TextItem, AnyBatch]):
    """A family whose models write: what is told of an answer is told of its tokens, each behind those before it."""

    @property
    @abstractmethod
    def _end(self) -> int | None:
        """The token that ends an answer, which belongs to it; None where there is none."""

    @abstractmethod
    def _at_targets(
        self, model: PreTrainedModel, batch: AnyBatch
    ) -> tuple[Float[Tensor, "rows tokens vocabulary"], Int[Tensor, "rows tokens"]]:
        """Logits where the targets' tokens are predicted, and these tokens; IGNORED behind them."""

    @abstractmethod
    def _write(self, model: PreTrainedModel, items: Sequence[TextItem], tokens: int) -> list[list[int]]:
        """What the model writes for each item, greedily, of so many tokens at most."""

    def losses(self, model: PreTrainedModel, batch: AnyBatch, parts: int) -> Float[Tensor, " parts"]:
        return part_losses(*self._at_targets(model, batch), parts)

    def answer(self, model: PreTrainedModel, batch: AnyBatch) -> Float[Tensor, "batch features"]:
        if ranked_items(batch.items):
            return self.decision(model, batch)
        return _token_roots(*self._at_targets(model, batch))

    def losses_and_answer(
        self, model: PreTrainedModel, batch: AnyBatch, parts: int
    ) -> tuple[Float[Tensor, " parts"], Float[Tensor, "batch features"]]:
        logits, targets = self._at_targets(model, batch)
        # What comes next is decided where the target's first token is.
        answer = roots(logits[:, 0]) if ranked_items(batch.items) else _token_roots(logits, targets)
        return part_losses(logits, targets, parts), answer

    def written(self, model: PreTrainedModel, items: Sequence[TextItem], tokens: int) -> list[TextItem]:
        made = list(items)
        positions = [index for index, item in enumerate(items) if isinstance(item, GeneratedText)]
        # Those of like length together: what is padded is computed.
        positions.sort(key=lambda index: len(items[index].input_ids))
        for start in range(0, len(positions), _WRITTEN):
            part = positions[start : start + _WRITTEN]
            chosen = [items[index] for index in part]
            rows = self._write(model, chosen, min(tokens, most_new_tokens(chosen)))
            for index, row in zip(part, rows, strict=True):
                made[index] = replace(items[index], target_ids=row[: row.index(self._end) + 1] if self._end in row else row)
        return made

    def states(self, items: Sequence[TextItem]) -> list[list[TextItem]]:
        states: list[list[TextItem]] = []
        for item in items:
            texts = item.candidate_ids if isinstance(item, RankedText) else [item.target_ids]
            beginnings = {tuple(text[:end]) for text in texts for end in range(len(text))}
            shortest = sorted(beginnings, key=lambda text: (len(text), text))[:_STATES]
            states.append([BegunText(item.input_ids, item.target_ids, list(beginning)) for beginning in shortest])
        return states


def _token_roots(
    logits: Float[Tensor, "rows tokens vocabulary"], targets: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows features"]:
    """Square roots of the probabilities of every token of a written answer, one token after another."""
    there = (targets != IGNORED).float()
    each = roots(logits.flatten(0, 1)).view_as(logits)
    # All tokens of a row have the length 1 together, so that long answers and short ones count alike.
    return (each * (there / there.sum(1, keepdim=True)).sqrt().unsqueeze(2)).flatten(1)


def mean_log_likelihood(
    logits: Float[Tensor, "rows tokens vocabulary"], labels: Int[Tensor, "rows tokens"]
) -> Float[Tensor, " rows"]:
    """Mean log-likelihood of each row's tokens, so that long and short candidates compare; IGNORED ones are passed over."""
    return -part_losses(logits, labels, len(labels))


def candidate_scores(
    items: Sequence[RankedText], score: Callable[[list[tuple[int, list[int]]]], Float[Tensor, " rows"]]
) -> Float[Tensor, "batch candidates"]:
    """Scores of all candidates, a line for each item; -inf where an item has fewer candidates than others.

    Args:
        items: ranked.
        score: those of some rows in one pass of the model, each the position of an item and a candidate's tokens. All items have
            as many rows in a pass, and they stand in their order: a delta with several vectors divides the rows into equal parts.
    """
    counts = torch.tensor([len(item.candidate_ids) for item in items])
    width = int(counts.max())
    each = max(1, _ROWS // len(items))
    parts = []
    for start in range(0, width, each):
        numbers = range(start, min(start + each, width))
        # Where there is no such candidate the last takes its part.
        rows = [
            (index, item.candidate_ids[min(n, len(item.candidate_ids) - 1)]) for index, item in enumerate(items) for n in numbers
        ]
        parts.append(score(rows).view(len(items), len(numbers)))
    scores = torch.cat(parts, dim=1)
    absent = torch.arange(width) >= counts.unsqueeze(1)
    return scores.masked_fill(absent.to(scores.device), float("-inf"))
