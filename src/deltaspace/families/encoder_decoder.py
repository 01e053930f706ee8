"""Encoder-decoders (T5, BART): input text to target text; candidates are ranked by their likelihood, or text is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.modeling_outputs import BaseModelOutput

from deltaspace.families.family import Batch, Evaluation, Family, Item, ranked
from deltaspace.families.text import IGNORED, encode_targets, mean_log_likelihood, scatter_scores

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.tasks.task import Example, Task


class EncoderDecoder(Family):
    """Text-to-text models, trained on the target's tokens (cross-entropy)."""

    name = "encoder_decoder"

    def check(self, task: Task) -> None:
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[Item]:
        self.check(task)
        inputs = self.tokenizer([self.prompted(task, e.input) for e in examples])["input_ids"]
        return [
            {"input_ids": ids, **target}
            for ids, target in zip(inputs, encode_targets(self, task, examples, self._target_ids), strict=True)
        ]

    def _target_ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(text_target=texts, truncation=True, max_length=self.max_length)
        return [list(ids) for ids in encoded["input_ids"]]

    def collate(self, items: Sequence[Item]) -> Batch:
        return {
            "items": items,
            "inputs": self.pad_inputs([item["input_ids"] for item in items]),
            "labels": self.pad([item["target_ids"] for item in items], IGNORED),
        }

    def loss(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, ""]:
        return model(**batch["inputs"], labels=batch["labels"], use_cache=False).loss

    def evaluate(self, model: PreTrainedModel, batch: Batch) -> Evaluation:
        items = batch["items"]
        encoded = model.get_encoder()(**batch["inputs"]).last_hidden_state
        if items[0]["ranked"]:
            rows = [(row, ids) for row, item in enumerate(items) for ids in item["candidate_ids"]]

            def score(part: list[tuple[int, list[int]]]) -> Tensor:
                index = torch.tensor([row for row, _ in part], device=self.device)
                labels = self.pad([ids for _, ids in part], IGNORED)
                return self._log_likelihood(model, encoded[index], batch["inputs"]["attention_mask"][index], labels)

            return ranked(items, scatter_scores(rows, [len(item["candidate_ids"]) for item in items], score))
        mask = batch["inputs"]["attention_mask"]
        losses = -self._log_likelihood(model, encoded, mask, batch["labels"])
        tokens = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            max_new_tokens=max(item["max_new_tokens"] for item in items),
            do_sample=False,
            num_beams=1,
        )
        return Evaluation([text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)], losses)

    def _log_likelihood(self, model: PreTrainedModel, encoded: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        output = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded), attention_mask=mask, labels=labels, use_cache=False
        )
        return mean_log_likelihood(output.logits, labels)
