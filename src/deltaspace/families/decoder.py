"""Decoder-only models (GPT-2, Llama): the input text is continued with the target; candidates are ranked, or text generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from deltaspace.families.batch import Batch, Evaluation, Inputs
from deltaspace.families.family import FAMILIES, Family
from deltaspace.families.ranking import ranked, roots
from deltaspace.families.text import (
    IGNORED,
    TextItem,
    encode_texts,
    mean_log_likelihood,
    most_new_tokens,
    ranked_items,
    scatter_scores,
)
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_PROMPT = "{input}\nAnswer:"


@dataclass(frozen=True, slots=True, eq=False)
class DecoderBatch(Batch):
    """Inputs, each with its target behind it.

    Args:
        items: what it was made from.
        inputs: tokens of input and target.
        labels: the target's tokens where they stand in `inputs`; IGNORED elsewhere.
    """

    items: Sequence[TextItem]
    inputs: Inputs
    labels: Int[Tensor, "batch tokens"]


@FAMILIES.register
class Decoder(Family[TextItem, DecoderBatch]):
    """Causal language models, trained on the target's tokens only (the input's are not predicted)."""

    name = "decoder"
    models = "decoder-only models (GPT-2, Llama)"
    peft_task_type = "CAUSAL_LM"
    precedence = 0

    @staticmethod
    def auto_class() -> type[Any]:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    @staticmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        return any(architecture.endswith(("ForCausalLM", "LMHeadModel")) for architecture in config.architectures or [])

    def check_model(self, name: str) -> None:
        super().check_model(name)
        self.need(name, self.tokenizer.eos_token_id, "end token (eos_token)", "tokenizer_config.json")

    def check(self, task: Task) -> None:
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[TextItem]:
        self.check(task)
        inputs = [self._open(self.tokenizer(self.prompted(task, e.input, _PROMPT))["input_ids"]) for e in examples]
        return encode_texts(self, task, examples, inputs, self._target_ids)

    def _open(self, ids: list[int]) -> list[int]:
        # Some tokenizers close every text with their end token; a prompt is to be continued.
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids

    def _target_ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            [" " + text for text in texts], add_special_tokens=False, truncation=True, max_length=self.max_length
        )
        return [[*ids, self.tokenizer.eos_token_id] for ids in encoded["input_ids"]]

    def collate(self, items: Sequence[TextItem]) -> DecoderBatch:
        return DecoderBatch(items, *self._join([(item.input_ids, item.target_ids) for item in items]))

    def _join(self, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Inputs, Tensor]:
        inputs = self.pad_inputs([ids + target for ids, target in pairs])
        return inputs, self.pad([[IGNORED] * len(ids) + target for ids, target in pairs], IGNORED)

    def loss(self, model: PreTrainedModel, batch: DecoderBatch) -> Float[Tensor, ""]:
        logits = self._logits(model, batch.inputs)
        return F.cross_entropy(logits.flatten(0, 1).float(), batch.labels[:, 1:].flatten(), ignore_index=IGNORED)

    def evaluate(self, model: PreTrainedModel, batch: DecoderBatch) -> Evaluation:
        if items := ranked_items(batch.items):
            rows = [(item.input_ids, ids) for item in items for ids in item.candidate_ids]

            def score(part: list[tuple[list[int], list[int]]]) -> Tensor:
                return self._log_likelihood(model, *self._join(part))

            scores = scatter_scores(rows, [len(item.candidate_ids) for item in items], score)
            return ranked([item.choice for item in items], scores)
        inputs = self.pad_inputs([item.input_ids for item in batch.items], left=True)
        tokens = model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=most_new_tokens(batch.items),
            do_sample=False,
            num_beams=1,
            pad_token_id=self.pad_id,
        )
        written = tokens[:, inputs.input_ids.shape[1] :]
        texts = [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return Evaluation(texts, -self._log_likelihood(model, batch.inputs, batch.labels))

    def _logits(self, model: PreTrainedModel, inputs: Inputs) -> Tensor:
        output = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, use_cache=False)
        return output.logits[:, :-1]

    def _log_likelihood(self, model: PreTrainedModel, inputs: Inputs, labels: Tensor) -> Tensor:
        return mean_log_likelihood(self._logits(model, inputs), labels[:, 1:])

    def decision(self, model: PreTrainedModel, batch: DecoderBatch) -> Float[Tensor, "batch features"]:
        """Of the next token's probabilities behind the prompt."""
        lengths = [len(item.input_ids) for item in batch.items]
        inputs = self.pad_inputs([item.input_ids for item in batch.items])
        output = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, use_cache=False)
        last = torch.tensor(lengths, device=self.device) - 1
        return roots(output.logits[torch.arange(len(lengths), device=self.device), last])
