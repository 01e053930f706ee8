"""Prefix-tuning: Li & Liang 2021 (arXiv 2101.00190), section 4: trained keys and values before those of every self-attention.

    attention(Q, K, V) <- attention(Q, [P_k; K], [P_v; V]),    P_k, P_v: (heads, tokens, head size)

The prefix stands before the keys and values of encoder and decoder alike, through transformers' attention interface, so that
any model that uses the interface takes it, generation with a cache included. Only self-attention blocks get one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from deltaspace.deltas.delta import Delta
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


@DELTAS.register
class Prefix(Delta):
    """Trained keys and values before every self-attention block."""

    name: ClassVar[str] = "prefix"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2101.00190"

    tokens: int = Field(default=16, ge=1, description="virtual tokens before every self-attention block")
    gain: float = Field(
        default=20.0,
        gt=0,
        description="keys and values are gain times the parameters, so that one learning rate suits all deltas",
    )

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        # Here, because it imports much of transformers, which reading a recipe does not need.
        from deltaspace.deltas._attention import ATTENTION, self_attentions

        attentions = self_attentions(model, backbone, self.tokens)
        if not attentions:
            raise DeltaspaceError(
                f"prefix: the attention of {backbone.name} cannot take a prefix",
                found=f"a {model.config.model_type}, whose attention does not go through transformers' AttentionInterface",
                expected="a model whose attention does, such as T5, BART, BERT, RoBERTa, DistilBERT, GPT-2 or Llama",
                mend="leave prefix out of the recipe's deltas, or choose another model",
            )
        model.set_attn_implementation(ATTENTION)
        names = []
        for name, module in list(model.named_modules()):
            if module in attentions:
                module.prefix = KeysAndValues(self, *attentions[module])
                names += [f"{name}.prefix.key", f"{name}.prefix.value"]
        return model, names


class KeysAndValues(nn.Module):
    """The prefix of one attention block.

    Args:
        settings: of the delta.
        key, value: where the prefix begins, (heads, tokens, head size) each.
    """

    def __init__(
        self, settings: Prefix, key: Float[Tensor, "heads tokens size"], value: Float[Tensor, "heads tokens size"]
    ) -> None:
        super().__init__()
        self.gain = settings.gain
        self.key = nn.Parameter(key / settings.gain)
        self.value = nn.Parameter(value / settings.gain)

    def before(
        self, key: Float[Tensor, "batch heads length size"], value: Float[Tensor, "batch heads length size"]
    ) -> tuple[Float[Tensor, "batch heads extended size"], Float[Tensor, "batch heads extended size"]]:
        """Keys and values with the prefix put before them."""
        prefix_key, prefix_value = (
            self._spread((self.gain * parameter).to(key.dtype), len(key)) for parameter in (self.key, self.value)
        )
        return torch.cat([prefix_key, key], dim=2), torch.cat([prefix_value, value], dim=2)

    @staticmethod
    def _spread(prefix: Float[Tensor, "*groups heads tokens size"], batch: int) -> Float[Tensor, "batch heads tokens size"]:
        if prefix.dim() == 3:
            return prefix.expand(batch, -1, -1, -1)
        # A prefix for each group: group g stands before the g-th of equal consecutive parts of the batch.
        return prefix.unsqueeze(1).expand(-1, batch // len(prefix), -1, -1, -1).flatten(0, 1)
