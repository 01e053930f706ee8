"""Encoder-decoders (T5, BART): input text to target text; candidates are ranked by their likelihood, or text is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.families.batch import Batch, Evaluation, Inputs
from deltaspace.families.family import FAMILIES
from deltaspace.families.losses import IGNORED
from deltaspace.families.ranking import ranked, roots
from deltaspace.families.text import (
    TextFamily,
    TextItem,
    begun,
    candidate_scores,
    encode_texts,
    mean_log_likelihood,
    most_new_tokens,
    ranked_items,
)
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, slots=True, eq=False)
class EncoderDecoderBatch(Batch):
    """Inputs for the encoder, targets for the decoder.

    Args:
        items: what it was made from.
        inputs: tokens of the inputs.
        labels: tokens of the targets; IGNORED behind them.
    """

    items: Sequence[TextItem]
    inputs: Inputs
    labels: Int[Tensor, "batch target_tokens"]


@FAMILIES.register
class EncoderDecoder(TextFamily[EncoderDecoderBatch]):
    """Text-to-text models, trained on the target's tokens (cross-entropy)."""

    name = "encoder_decoder"
    models = "encoder-decoders (T5, BART)"
    peft_task_type = "SEQ_2_SEQ_LM"
    precedence = 2

    @staticmethod
    def auto_class() -> type[Any]:
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    @staticmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        # Its configuration's class alone: many such folders name a model without the head that writes text.
        return bool(config.is_encoder_decoder) and type(config) in EncoderDecoder.auto_class()._model_mapping

    def check_model(self, name: str) -> None:
        super().check_model(name)
        for token in ("decoder_start_token_id", "pad_token_id"):
            self.need(name, getattr(self.model.config, token, None), token, "config.json")

    def check(self, task: Task) -> None:
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[TextItem]:
        self.check(task)
        inputs = self.tokenizer([self.prompted(task, e.input) for e in examples])["input_ids"]
        return encode_texts(self, task, examples, inputs, self._target_ids)

    def _target_ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(text_target=texts, truncation=True, max_length=self.max_length)
        return [list(ids) for ids in encoded["input_ids"]]

    def collate(self, items: Sequence[TextItem]) -> EncoderDecoderBatch:
        inputs = self.pad_inputs([item.input_ids for item in items])
        return EncoderDecoderBatch(items, inputs, self.pad([item.target_ids for item in items], IGNORED))

    @property
    def _end(self) -> int | None:
        end: int | None = self.tokenizer.eos_token_id
        return end

    def _at_targets(self, model: PreTrainedModel, batch: EncoderDecoderBatch) -> tuple[Tensor, Tensor]:
        given = {"input_ids": batch.inputs.input_ids, "attention_mask": batch.inputs.attention_mask}
        return model(**given, labels=batch.labels, use_cache=False).logits, batch.labels

    def _write(self, model: PreTrainedModel, items: Sequence[TextItem], tokens: int) -> list[list[int]]:
        inputs = self.pad_inputs([item.input_ids for item in items])
        encoded = model.get_encoder()(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
        # Without the token with which every text begins.
        rows: list[list[int]] = self._generate(model, encoded, inputs.attention_mask, tokens)[:, 1:].tolist()
        return rows

    def evaluate(self, model: PreTrainedModel, batch: EncoderDecoderBatch) -> Evaluation:
        mask = batch.inputs.attention_mask
        encoded = model.get_encoder()(input_ids=batch.inputs.input_ids, attention_mask=mask).last_hidden_state
        if items := ranked_items(batch.items):

            def score(part: list[tuple[int, list[int]]]) -> Tensor:
                index = torch.tensor([row for row, _ in part], device=self.device)
                labels = self.pad([ids for _, ids in part], IGNORED)
                return self._log_likelihood(model, encoded[index], mask[index], labels)

            return ranked([item.choice for item in items], candidate_scores(items, score))
        losses = -self._log_likelihood(model, encoded, mask, batch.labels)
        tokens = self._generate(model, encoded, mask, most_new_tokens(batch.items))
        return Evaluation([text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)], losses)

    def _generate(self, model: PreTrainedModel, encoded: Tensor, mask: Tensor, tokens: int) -> Int[Tensor, "batch written"]:
        written: Tensor = model.generate(
            encoder_outputs=_output(encoded), attention_mask=mask, max_new_tokens=tokens, do_sample=False, num_beams=1
        )
        return written

    def decision(self, model: PreTrainedModel, batch: EncoderDecoderBatch) -> Float[Tensor, "batch features"]:
        """Of the next written token's probabilities: the first one's, or that behind what is there of the answer."""
        rows = [[self.model.config.decoder_start_token_id, *begun(item)] for item in batch.items]
        # Attention looks back alone, so that what is padded behind a row's last token changes nothing.
        given = {"decoder_input_ids": self.pad(rows, self.pad_id), "use_cache": False}
        output = model(input_ids=batch.inputs.input_ids, attention_mask=batch.inputs.attention_mask, **given)
        last = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        return roots(output.logits[torch.arange(len(rows), device=self.device), last])

    def _log_likelihood(self, model: PreTrainedModel, encoded: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        output = model(encoder_outputs=_output(encoded), attention_mask=mask, labels=labels, use_cache=False)
        return mean_log_likelihood(output.logits, labels)


def _output(encoded: Tensor) -> Any:
    """What the encoder gave, as transformers' decoders take it."""
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=encoded)
