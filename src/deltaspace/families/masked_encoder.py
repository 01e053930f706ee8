"""Masked encoders (BERT, RoBERTa): a prompt with a mask; the masked-language-model head scores each label's word there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.families.batch import Batch, Evaluation, Inputs, Item
from deltaspace.families.family import FAMILIES, Family
from deltaspace.families.losses import part_losses
from deltaspace.families.ranking import Choice, candidate_texts, choices, ranked, roots
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_PROMPT = "{input} It was {mask}."


@dataclass(frozen=True, slots=True, eq=False)
class MaskedItem(Item):
    """An example in a prompt with a mask.

    Args:
        mask_position: of the prompt's mask among the tokens.
        tokens: the token of each candidate.
        choice: the candidates.
    """

    mask_position: int
    tokens: list[int]
    choice: Choice


@dataclass(frozen=True, slots=True, eq=False)
class MaskedBatch(Batch):
    """Prompts with masks, and the candidates' tokens.

    Args:
        items: what it was made from.
        inputs: tokens of the prompts.
        mask_positions: where each prompt's mask is.
        tokens: the candidates' tokens.
        absent: where a row has fewer candidates than others.
        gold: the target's position among the candidates.
    """

    items: Sequence[MaskedItem]
    inputs: Inputs
    mask_positions: Int[Tensor, " batch"]
    tokens: Int[Tensor, "batch candidates"]
    absent: Bool[Tensor, "batch candidates"]
    gold: Int[Tensor, " batch"]


@FAMILIES.register
class MaskedEncoder(Family[MaskedItem, MaskedBatch]):
    """Models with a masked-language-model head. Every label word must be one token of the vocabulary."""

    name = "masked_encoder"
    models = "masked encoders (BERT, RoBERTa)"
    # peft has no task type for masked language models.
    peft_task_type = "FEATURE_EXTRACTION"
    precedence = 1
    decides_by = "candidates"

    @staticmethod
    def auto_class() -> type[Any]:
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM

    @staticmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        return any(architecture.endswith("ForMaskedLM") for architecture in config.architectures or [])

    def check_model(self, name: str) -> None:
        super().check_model(name)
        self.need(name, self.tokenizer.mask_token_id, "mask token", "tokenizer_config.json")

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

    def encode(self, task: Task, examples: Sequence[Example]) -> list[MaskedItem]:
        self.check(task)
        mask = self.tokenizer.mask_token
        inputs = self.tokenizer([self.prompted(task, e.input, _PROMPT, mask=mask) for e in examples])["input_ids"]
        tokens = {word: self._token(task, word) for e in examples for word in candidate_texts(task, e)}
        return [
            MaskedItem(
                ids,
                # The prompt's own mask is the last: an input may hold the mask token as text.
                mask_position=len(ids) - 1 - ids[::-1].index(self.tokenizer.mask_token_id),
                tokens=[tokens[word] for word in candidate_texts(task, example)],
                choice=choice,
            )
            for ids, example, choice in zip(inputs, examples, choices(task, examples), strict=True)
        ]

    def collate(self, items: Sequence[MaskedItem]) -> MaskedBatch:
        return MaskedBatch(
            items,
            self.pad_inputs([item.input_ids for item in items]),
            mask_positions=torch.tensor([item.mask_position for item in items], device=self.device),
            tokens=self.pad([item.tokens for item in items], 0),
            absent=self.pad([[0] * len(item.tokens) for item in items], 1).bool(),
            gold=torch.tensor([item.choice.gold for item in items], device=self.device),
        )

    def _scores(self, model: PreTrainedModel, batch: MaskedBatch) -> Float[Tensor, "batch candidates"]:
        logits = model(input_ids=batch.inputs.input_ids, attention_mask=batch.inputs.attention_mask).logits
        at_mask = logits[torch.arange(len(logits), device=logits.device), batch.mask_positions]
        return at_mask.gather(1, batch.tokens).float().masked_fill(batch.absent, float("-inf"))

    def losses(self, model: PreTrainedModel, batch: MaskedBatch, parts: int) -> Float[Tensor, " parts"]:
        return part_losses(self._scores(model, batch), batch.gold, parts)

    def evaluate(self, model: PreTrainedModel, batch: MaskedBatch) -> Evaluation:
        return ranked([item.choice for item in batch.items], self._scores(model, batch))

    def decision(self, model: PreTrainedModel, batch: MaskedBatch) -> Float[Tensor, "batch features"]:
        """Of the candidates' probabilities at the mask."""
        return roots(self._scores(model, batch))

    def losses_and_answer(
        self, model: PreTrainedModel, batch: MaskedBatch, parts: int
    ) -> tuple[Float[Tensor, " parts"], Float[Tensor, "batch features"]]:
        scores = self._scores(model, batch)
        return part_losses(scores, batch.gold, parts), roots(scores)
