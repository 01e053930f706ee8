"""Prefix-tuning: Li & Liang 2021 (arXiv 2101.00190), section 4: trained keys and values before those of every self-attention.

    attention(Q, K, V) <- attention(Q, [P_k; K], [P_v; V]),    P_k, P_v: (heads, tokens, head size)

The prefix stands before the keys and values of encoder and decoder alike, through transformers' attention interface, so that
any model that uses the interface takes it, generation with a cache included. Only self-attention blocks get one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import nn

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


class Prefix(Delta):
    """Trained keys and values before every self-attention block."""

    name: ClassVar[str] = "prefix"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2101.00190"

    tokens: int = Field(16, ge=1, description="virtual tokens before every self-attention block")
    gain: float = Field(
        20.0, gt=0, description="keys and values are gain times the parameters, so that one learning rate suits all deltas"
    )

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        # Here, because it imports much of transformers, which reading a recipe does not need.
        from deltaspace.deltas.attention import ATTENTION, self_attentions

        places = self_attentions(model, backbone, self.tokens)
        if not places:
            raise DeltaspaceError(
                f"prefix: the attention of {backbone.name} cannot take a prefix",
                found=f"a {model.config.model_type}, whose attention does not go through transformers' AttentionInterface",
                expected="a model whose attention does, such as T5, BART, BERT, RoBERTa, DistilBERT, GPT-2 or Llama",
                mend="leave prefix out of the recipe's deltas, or choose another model",
            )
        model.set_attn_implementation(ATTENTION)
        names = []
        for name, module in list(model.named_modules()):
            if module in places:
                module.prefix = KeysAndValues(self, *places[module])
                names += [f"{name}.prefix.key", f"{name}.prefix.value"]
        return model, names


class KeysAndValues(nn.Module):
    """The prefix of one attention block."""

    def __init__(self, settings: Prefix, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.gain = settings.gain
        self.key = nn.Parameter(key / settings.gain)
        self.value = nn.Parameter(value / settings.gain)

    def before(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, length, head size) with the prefix put before them."""
        own_key, own_value = (self._spread((self.gain * own).to(key.dtype), len(key)) for own in (self.key, self.value))
        return torch.cat([own_key, key], dim=2), torch.cat([own_value, value], dim=2)

    @staticmethod
    def _spread(own: Tensor, batch: int) -> Tensor:
        if own.dim() == 3:
            return own.expand(batch, -1, -1, -1)
        # A prefix for each group: group g stands before the g-th of equal consecutive parts of the batch.
        return own.unsqueeze(1).expand(-1, batch // len(own), -1, -1, -1).flatten(0, 1)
