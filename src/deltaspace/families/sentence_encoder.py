"""Sentence encoders: the input's pooled embedding against the frozen embeddings of the label words, cosine times a scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from deltaspace.errors import DeltaspaceError
from deltaspace.families.family import Batch, Evaluation, Family, Item, candidate_texts, gold_index, ranked
from deltaspace.storage import read_json

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.tasks.task import Example, Task

# The scale that sentence-transformers' ranking losses use for cosines.
_SCALE = 20.0


class SentenceEncoder(Family):
    """MiniLM and the like: models without a language-model head, pooled (mean, or the first token's state) and normalized."""

    name = "sentence_encoder"
    pooling = "mean"

    def read(self, folder: Path) -> None:
        """Take the pooling from sentence-transformers' own file; the mean where there is none."""
        path = folder / "1_Pooling" / "config.json"
        if not path.exists():
            return
        settings = read_json(path)
        if not isinstance(settings, dict):
            settings = {}
        modes = [
            key.removeprefix("pooling_mode_") for key, on in settings.items() if key.startswith("pooling_mode_") and on is True
        ]
        modes = modes or [str(settings.get("pooling_mode", "none"))]
        known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
        if len(modes) != 1 or modes[0] not in known:
            raise DeltaspaceError(f"{path}: this pooling is not supported", found=", ".join(modes), expected="mean or cls")
        self.pooling = known[modes[0]]

    def check(self, task: Task) -> None:
        self.only_ranked(task)
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[Item]:
        self.check(task)
        inputs = self.tokenizer([self.prompted(task, e.input) for e in examples])["input_ids"]
        texts = [candidate_texts(task, example) for example in examples]
        embeddings = self._embed_texts(sorted({text for candidates in texts for text in candidates}))
        shared: dict[tuple[str, ...], Tensor] = {}
        for candidates in texts:
            if candidates not in shared:
                shared[candidates] = torch.stack([embeddings[text] for text in candidates])
        return [
            {
                "input_ids": ids,
                "embeddings": shared[candidates],
                "candidates": task.candidates(example),
                "gold": gold_index(task, example),
            }
            for ids, candidates, example in zip(inputs, texts, examples, strict=True)
        ]

    @torch.no_grad()
    def _embed_texts(self, texts: Sequence[str], size: int = 64) -> dict[str, Tensor]:
        embeddings: dict[str, Tensor] = {}
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            inputs = self.pad_inputs(self.tokenizer(list(part), truncation=True, max_length=self.max_length)["input_ids"])
            embeddings.update(zip(part, self.embed(self.model, inputs), strict=True))
        return embeddings

    def embed(self, model: PreTrainedModel, inputs: dict[str, Tensor]) -> Float[Tensor, "batch hidden"]:
        """The last hidden states pooled over the input's tokens, normalized to length 1."""
        hidden = model(**inputs).last_hidden_state
        if self.pooling == "cls":
            return F.normalize(hidden[:, 0], dim=-1)
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    def collate(self, items: Sequence[Item]) -> Batch:
        most = max(len(item["embeddings"]) for item in items)
        stacked = [F.pad(item["embeddings"], (0, 0, 0, most - len(item["embeddings"]))) for item in items]
        absent = [[i >= len(item["embeddings"]) for i in range(most)] for item in items]
        return {
            "items": items,
            "inputs": self.pad_inputs([item["input_ids"] for item in items]),
            "embeddings": torch.stack(stacked),
            "absent": torch.tensor(absent, device=self.device),
            "gold": torch.tensor([item["gold"] for item in items], device=self.device),
        }

    def _scores(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "batch candidates"]:
        embedding = self.embed(model, batch["inputs"])
        scores = _SCALE * torch.einsum("bh,bch->bc", embedding, batch["embeddings"].to(embedding.dtype))
        return scores.float().masked_fill(batch["absent"], float("-inf"))

    def loss(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, ""]:
        return F.cross_entropy(self._scores(model, batch), batch["gold"])

    def evaluate(self, model: PreTrainedModel, batch: Batch) -> Evaluation:
        return ranked(batch["items"], self._scores(model, batch))
