"""What the two text-to-text families share: targets as tokens, and the likelihood of candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.nn import functional as F

from deltaspace.errors import DeltaspaceError
from deltaspace.families.family import Family, Item, candidate_texts, gold_index

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from deltaspace.tasks.task import Example, Task

# The label that transformers' and torch's cross-entropies pass over.
IGNORED = -100
# Candidates scored in one pass: bounds memory when a task has many labels.
_ROWS = 256
# Generation may write this many tokens more than the longest target of training.
_ROOM = 4

Row = TypeVar("Row")


def encode_targets(
    family: Family, task: Task, examples: Sequence[Example], tokenize: Callable[[list[str]], list[list[int]]]
) -> list[Item]:
    """Per example the target's tokens, and what ranking or generation needs besides."""
    texts = {text for example in examples for text in candidate_texts(task, example)}
    texts |= {task.labels.get(example.target, example.target) for example in examples}
    longest = [] if task.ranked else sorted({example.target for example in task.train}, key=len)[-50:]
    unique = sorted(texts | set(longest))
    ids = dict(zip(unique, tokenize(unique), strict=True))
    unknown = family.tokenizer.unk_token_id
    for word in task.labels.values():
        if unknown is not None and word in ids and unknown in ids[word]:
            raise DeltaspaceError(
                f"task {task.name}: the label word {word!r} cannot be produced by this model",
                found="characters that its tokenizer does not know",
                expected="label words made of its vocabulary",
                mend="give other words under 'labels: {label: word}' in the recipe",
            )
    common = {"ranked": task.ranked, "max_new_tokens": max((len(ids[text]) for text in longest), default=0) + _ROOM}
    items = []
    for example in examples:
        item = {**common, "target_ids": ids[task.labels.get(example.target, example.target)]}
        if task.ranked:
            item["candidate_ids"] = [ids[text] for text in candidate_texts(task, example)]
            item["candidates"] = task.candidates(example)
            item["gold"] = gold_index(task, example)
        items.append(item)
    return items


def mean_log_likelihood(
    logits: Float[Tensor, "rows tokens vocabulary"], labels: Int[Tensor, "rows tokens"]
) -> Float[Tensor, " rows"]:
    """Mean log-likelihood of each row's tokens, so that long and short candidates compare; IGNORED ones are passed over."""
    losses = F.cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none")
    return -losses.sum(1) / (labels != IGNORED).sum(1)


def scatter_scores(
    rows: Sequence[Row], counts: Sequence[int], score: Callable[[list[Row]], Tensor]
) -> Float[Tensor, "batch candidates"]:
    """Scores of all rows, a bounded number at a time, put back as one line per example; absent candidates are -inf."""
    flat = torch.cat([score(list(rows[start : start + _ROWS])) for start in range(0, len(rows), _ROWS)])
    scores = flat.new_full((len(counts), max(counts)), float("-inf"))
    for row, part in enumerate(flat.split(list(counts))):
        scores[row, : len(part)] = part
    return scores
