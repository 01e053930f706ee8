"""Sentence encoders: the input's pooled embedding against the frozen embeddings of the label words, cosine times a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from deltaspace.errors import DeltaspaceError
from deltaspace.families.batch import Batch, Evaluation, Inputs, Item
from deltaspace.families.family import FAMILIES, Family
from deltaspace.families.losses import part_losses
from deltaspace.families.ranking import Choice, candidate_texts, choices, ranked, roots
from deltaspace.storage import read_json
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# The scale that sentence-transformers' ranking losses use for cosines.
_SCALE = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class SentenceItem(Item):
    """An example with what its candidates mean to the frozen PLM.

    Args:
        embeddings: of the candidates, each of length 1; one tensor for all examples with the same candidates.
        choice: the candidates.
    """

    embeddings: Float[Tensor, "candidates hidden"]
    choice: Choice


@dataclass(frozen=True, slots=True, eq=False)
class SentenceBatch(Batch):
    """Inputs, and the candidates' embeddings.

    Args:
        items: what it was made from.
        inputs: tokens of the inputs.
        embeddings: of the candidates.
        absent: where a row has fewer candidates than others.
        gold: the target's position among the candidates.
    """

    items: Sequence[SentenceItem]
    inputs: Inputs
    embeddings: Float[Tensor, "batch candidates hidden"]
    absent: Bool[Tensor, "batch candidates"]
    gold: Int[Tensor, " batch"]


@FAMILIES.register
class SentenceEncoder(Family[SentenceItem, SentenceBatch]):
    """MiniLM and the like: models without a language-model head, pooled (mean, or the first token's state) and normalized."""

    name = "sentence_encoder"
    models = "sentence encoders (a sentence-transformers folder such as all-MiniLM-L6-v2)"
    peft_task_type = "FEATURE_EXTRACTION"
    precedence = 3
    # Embeddings are pooled here, from the last hidden states.
    unused = (r"(^|\.)pooler\.",)
    decides_by = "embedding"
    pooling = "mean"

    @staticmethod
    def auto_class() -> type[Any]:
        from transformers import AutoModel

        return AutoModel

    @staticmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        # sentence-transformers' list of what follows the PLM; their PLMs are of any architecture.
        return (folder / "modules.json").exists()

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

    def encode(self, task: Task, examples: Sequence[Example]) -> list[SentenceItem]:
        self.check(task)
        inputs = self.tokenizer([self.prompted(task, e.input) for e in examples])["input_ids"]
        texts = [candidate_texts(task, example) for example in examples]
        embeddings = self._embed_texts(sorted({text for candidates in texts for text in candidates}))
        shared = {candidates: torch.stack([embeddings[text] for text in candidates]) for candidates in set(texts)}
        return [
            SentenceItem(ids, shared[candidates], choice)
            for ids, candidates, choice in zip(inputs, texts, choices(task, examples), strict=True)
        ]

    @torch.no_grad()
    def _embed_texts(self, texts: Sequence[str], size: int = 64) -> dict[str, Tensor]:
        embeddings: dict[str, Tensor] = {}
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            inputs = self.pad_inputs(self.tokenizer(list(part), truncation=True, max_length=self.max_length)["input_ids"])
            embeddings.update(zip(part, self.embed(self.model, inputs), strict=True))
        return embeddings

    def embed(self, model: PreTrainedModel, inputs: Inputs) -> Float[Tensor, "batch hidden"]:
        """The last hidden states pooled over the input's tokens, normalized to length 1."""
        hidden = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
        if self.pooling == "cls":
            return F.normalize(hidden[:, 0], dim=-1)
        mask = inputs.attention_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    def collate(self, items: Sequence[SentenceItem]) -> SentenceBatch:
        counts = [len(item.embeddings) for item in items]
        width = max(counts)
        padded = [F.pad(item.embeddings, (0, 0, 0, width - count)) for item, count in zip(items, counts, strict=True)]
        return SentenceBatch(
            items,
            self.pad_inputs([item.input_ids for item in items]),
            embeddings=torch.stack(padded),
            absent=torch.tensor([[index >= count for index in range(width)] for count in counts], device=self.device),
            gold=torch.tensor([item.choice.gold for item in items], device=self.device),
        )

    def _scores(self, model: PreTrainedModel, batch: SentenceBatch) -> Float[Tensor, "batch candidates"]:
        embedding = self.embed(model, batch.inputs)
        scores = _SCALE * torch.einsum("bh,bch->bc", embedding, batch.embeddings.to(embedding.dtype))
        return scores.float().masked_fill(batch.absent, float("-inf"))

    def losses(self, model: PreTrainedModel, batch: SentenceBatch, parts: int) -> Float[Tensor, " parts"]:
        return part_losses(self._scores(model, batch), batch.gold, parts)

    def evaluate(self, model: PreTrainedModel, batch: SentenceBatch) -> Evaluation:
        return ranked([item.choice for item in batch.items], self._scores(model, batch))

    def decision(self, model: PreTrainedModel, batch: SentenceBatch) -> Float[Tensor, "batch features"]:
        """The sentences' embeddings."""
        return self.embed(model, batch.inputs).float()

    def answer(self, model: PreTrainedModel, batch: SentenceBatch) -> Float[Tensor, "batch features"]:
        """Of the candidates' probabilities: the embedding tells more than any task asks."""
        return roots(self._scores(model, batch))

    def losses_and_answer(
        self, model: PreTrainedModel, batch: SentenceBatch, parts: int
    ) -> tuple[Float[Tensor, " parts"], Float[Tensor, "batch features"]]:
        scores = self._scores(model, batch)
        return part_losses(scores, batch.gold, parts), roots(scores)
