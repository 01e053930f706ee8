"""Decoder-only models (GPT-2, Llama): the input text is continued with the target; candidates are ranked, or text generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.nn import functional as F

from deltaspace.families.family import Batch, Evaluation, Family, Item, ranked
from deltaspace.families.text import IGNORED, encode_targets, mean_log_likelihood, scatter_scores

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.tasks.task import Example, Task

_PROMPT = "{input}\nAnswer:"


class Decoder(Family):
    """Causal language models, trained on the target's tokens only (the input's are not predicted)."""

    name = "decoder"

    def check(self, task: Task) -> None:
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[Item]:
        self.check(task)
        inputs = [self._plain(self.tokenizer(self.prompted(task, e.input, _PROMPT))["input_ids"]) for e in examples]
        return [
            {"input_ids": ids, **target}
            for ids, target in zip(inputs, encode_targets(self, task, examples, self._target_ids), strict=True)
        ]

    def _plain(self, ids: list[int]) -> list[int]:
        # Some tokenizers close every text with their end token; a prompt is to be continued.
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids

    def _target_ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            [" " + text for text in texts], add_special_tokens=False, truncation=True, max_length=self.max_length
        )
        return [[*ids, self.tokenizer.eos_token_id] for ids in encoded["input_ids"]]

    def collate(self, items: Sequence[Item]) -> Batch:
        return {"items": items, **self._join([(item["input_ids"], item["target_ids"]) for item in items])}

    def _join(self, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        inputs = self.pad_inputs([ids + target for ids, target in pairs])
        return {**inputs, "labels": self.pad([[IGNORED] * len(ids) + target for ids, target in pairs], IGNORED)}

    def loss(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, ""]:
        logits = self._logits(model, batch)
        return F.cross_entropy(logits.flatten(0, 1).float(), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)

    def evaluate(self, model: PreTrainedModel, batch: Batch) -> Evaluation:
        items = batch["items"]
        if items[0]["ranked"]:
            rows = [(item["input_ids"], ids) for item in items for ids in item["candidate_ids"]]

            def score(part: list[tuple[list[int], list[int]]]) -> Tensor:
                return self._log_likelihood(model, self._join(part))

            return ranked(items, scatter_scores(rows, [len(item["candidate_ids"]) for item in items], score))
        inputs = self.pad_inputs([item["input_ids"] for item in items], left=True)
        tokens = model.generate(
            **inputs,
            max_new_tokens=max(item["max_new_tokens"] for item in items),
            do_sample=False,
            num_beams=1,
            pad_token_id=self.pad_id,
        )
        written = tokens[:, inputs["input_ids"].shape[1] :]
        texts = [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return Evaluation(texts, -self._log_likelihood(model, batch))

    def _logits(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        return output.logits[:, :-1]

    def _log_likelihood(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        return mean_log_likelihood(self._logits(model, batch), batch["labels"][:, 1:])
