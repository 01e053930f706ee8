"""Masked encoders (BERT, RoBERTa): a prompt with a mask; the masked-language-model head scores each label's word there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from deltaspace.errors import DeltaspaceError
from deltaspace.families.family import Batch, Evaluation, Family, Item, candidate_texts, gold_index, ranked

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.tasks.task import Example, Task

_PROMPT = "{input} It was {mask}."


class MaskedEncoder(Family):
    """Models with a masked-language-model head. Every label word must be one token of the vocabulary."""

    name = "masked_encoder"

    def check(self, task: Task) -> None:
        self.only_ranked(task)
        self.check_prompt(task, ["input", "mask"])
        words = {word for split in (task.train, task.dev, task.test) for e in split for word in candidate_texts(task, e)}
        for word in sorted(words):
            self._token(task, word)

    def _token(self, task: Task, word: str) -> int:
        # Behind a space, as in the prompt: vocabularies such as RoBERTa's tell the two apart.
        for text in (" " + word, word):
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id:
                return int(ids[0])
        raise DeltaspaceError(
            f"task {task.name}: the label word {word!r} cannot be produced by this model",
            found=f"the tokens {self.tokenizer.tokenize(word)}",
            expected="label words of one token of its vocabulary",
            mend="give a one-token word for each label under 'labels: {label: word}' in the recipe",
        )

    def encode(self, task: Task, examples: Sequence[Example]) -> list[Item]:
        self.check(task)
        mask = self.tokenizer.mask_token
        inputs = self.tokenizer([self.prompted(task, e.input, _PROMPT, mask=mask) for e in examples])["input_ids"]
        tokens = {word: self._token(task, word) for e in examples for word in candidate_texts(task, e)}
        return [
            {
                "input_ids": ids,
                # The prompt's own mask is the last: an input may hold the mask token as text.
                "position": len(ids) - 1 - ids[::-1].index(self.tokenizer.mask_token_id),
                "tokens": [tokens[word] for word in candidate_texts(task, example)],
                "candidates": task.candidates(example),
                "gold": gold_index(task, example),
            }
            for ids, example in zip(inputs, examples, strict=True)
        ]

    def collate(self, items: Sequence[Item]) -> Batch:
        return {
            "items": items,
            "inputs": self.pad_inputs([item["input_ids"] for item in items]),
            "position": torch.tensor([item["position"] for item in items], device=self.device),
            "tokens": self.pad([item["tokens"] for item in items], 0),
            "absent": self.pad([[0] * len(item["tokens"]) for item in items], 1).bool(),
            "gold": torch.tensor([item["gold"] for item in items], device=self.device),
        }

    def _scores(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "batch candidates"]:
        logits = model(**batch["inputs"]).logits
        at_mask = logits[torch.arange(len(logits), device=logits.device), batch["position"]]
        return at_mask.gather(1, batch["tokens"]).float().masked_fill(batch["absent"], float("-inf"))

    def loss(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, ""]:
        return F.cross_entropy(self._scores(model, batch), batch["gold"])

    def evaluate(self, model: PreTrainedModel, batch: Batch) -> Evaluation:
        return ranked(batch["items"], self._scores(model, batch))
