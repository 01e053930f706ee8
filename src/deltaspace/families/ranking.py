"""Deciding an example by ranking its candidates, the same way in every family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deltaspace.families.batch import Evaluation
from deltaspace.tasks.task import Example, Task


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Among what an example is decided.

    Args:
        candidates: the answers, as predictions name them.
        gold: the target's position among them.
        numbers: the candidates as numbers, in a regression.
    """

    candidates: tuple[str, ...]
    gold: int
    numbers: tuple[float, ...] | None = None


def choices(task: Task, examples: Sequence[Example]) -> list[Choice]:
    """Each example's candidates, with the target's position among them."""
    numbers: dict[tuple[str, ...], tuple[float, ...]] = {}
    made = []
    for example in examples:
        candidates = task.candidates(example)
        if task.kind == "regression" and candidates not in numbers:
            numbers[candidates] = tuple(map(float, candidates))
        made.append(Choice(candidates, candidates.index(example.target), numbers.get(candidates)))
    return made


def candidate_texts(task: Task, example: Example) -> tuple[str, ...]:
    """What a model reads for each candidate: the options, or the label words."""
    return example.options or tuple(task.labels.values())


def ranked(chosen: Sequence[Choice], scores: Float[Tensor, "batch candidates"]) -> Evaluation:
    """Evaluation by ranking: the candidate of the highest score is predicted, or, in a regression, the candidates' mean,

        sum over candidates c of softmax(scores)_c * number_c

    The loss is the cross-entropy over the candidates, in a regression too.

    Args:
        chosen: among what each row is decided.
        scores: log-likelihoods up to a constant of the row; -inf where a row has fewer candidates than others.
    """
    gold = torch.tensor([choice.gold for choice in chosen], device=scores.device)
    losses = F.cross_entropy(scores.float(), gold, reduction="none")
    best = scores.argmax(dim=1).tolist()
    predictions = [choice.candidates[index] for choice, index in zip(chosen, best, strict=True)]
    if any(choice.numbers is not None for choice in chosen):
        for row, mean in enumerate(_means(chosen, scores)):
            if chosen[row].numbers is not None:
                predictions[row] = repr(mean)
    return Evaluation(predictions, losses)


def _means(chosen: Sequence[Choice], scores: Float[Tensor, "batch candidates"]) -> list[float]:
    """Of each row's numbers, weighted by likelihood; 0 where it has no numbers."""
    rows = [choice.numbers or () for choice in chosen]
    numbers = torch.tensor([[*row, *[0.0] * (scores.shape[1] - len(row))] for row in rows], dtype=torch.float64)
    # On the CPU: some accelerators have no float64.
    likelihoods = scores.detach().cpu().double().softmax(1)
    return [float(mean) for mean in (likelihoods * numbers).sum(1)]


def roots(scores: Float[Tensor, "batch choices"]) -> Float[Tensor, "batch choices"]:
    """Square roots of the probabilities that scores (log-likelihoods up to a constant of the row) give; see `Family.decision`."""
    # From the logarithm: the root itself has an infinite slope at 0.
    return (scores.float().log_softmax(1) / 2).exp()
