"""Prefix-tuning: Li & Liang 2021 (arXiv 2101.00190), section 4: trained keys and values before those of every self-attention.

    attention(Q, K, V) <- attention(Q, [P_k; K], [P_v; V]),    P_k, P_v: (heads, tokens, head size)

The prefix stands before the keys and values of encoder and decoder alike, through transformers' attention interface, so that
any model that uses the interface takes it, generation with a cache included. Only self-attention blocks get one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

ATTENTION = "deltaspace_prefix"
_PROBE = "deltaspace_probe"


class Prefix(Delta):
    """Trained keys and values before every self-attention block."""

    name: ClassVar[str] = "prefix"
    source: ClassVar[str] = "https://arxiv.org/abs/2101.00190"

    tokens: int = Field(16, ge=1, description="virtual tokens before every self-attention block")
    gain: float = Field(
        20.0, gt=0, description="keys and values are gain times the parameters, so that one learning rate suits all deltas"
    )

    def install(self, model: PreTrainedModel, backbone: Backbone) -> list[str]:
        places = _self_attentions(model, backbone, self.tokens)
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
        return names


class KeysAndValues(nn.Module):
    """The prefix of one attention block."""

    def __init__(self, settings: Prefix, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.gain = settings.gain
        self.key = nn.Parameter(key / settings.gain)
        self.value = nn.Parameter(value / settings.gain)

    def before(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, length, head size) with the prefix put before them."""
        own_key, own_value = ((self.gain * own).to(key.dtype).expand(len(key), -1, -1, -1) for own in (self.key, self.value))
        return torch.cat([own_key, key], dim=2), torch.cat([own_value, value], dim=2)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    prefix: Any = module._modules.get("prefix")
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    length = prefix.key.shape[1]
    key, value = prefix.before(key, value)
    if attention_mask is not None:
        # Every position sees the prefix; a boolean mask says so with True, an additive one with 0.
        attention_mask = F.pad(attention_mask, (length, 0), value=attention_mask.dtype == torch.bool)
    if options.get("position_bias") is not None:
        options["position_bias"] = F.pad(options["position_bias"], (length, 0))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _mask(*arguments: Any, **options: Any) -> Tensor | None:
    # A causal mask must be explicit: the fused causal kernel would count the prefix as positions.
    return sdpa_mask(*arguments, **{**options, "allow_is_causal_skip": False})


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, _mask)


@torch.no_grad()
def _self_attentions(model: PreTrainedModel, backbone: Backbone, tokens: int) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Every self-attention module that calls the attention interface, with keys and values (heads, tokens, head size) that
    the PLM itself computes for random tokens: found by running the model once, so that no architecture need be known.
    """
    found: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        # Encoder and decoder get inputs of different lengths, so only cross-attention sees two different ones.
        if query.shape[2] == key.shape[2]:
            found[module] = (key[0, :, :tokens].clone(), value[0, :, :tokens].clone())
        return sdpa_attention_forward(module, query, key, value, *rest, **options)

    AttentionInterface.register(_PROBE, record)
    AttentionMaskInterface.register(_PROBE, _mask)
    model.set_attn_implementation(_PROBE)
    vocabulary = model.get_input_embeddings().num_embeddings
    inputs = {"input_ids": torch.randint(vocabulary, (1, tokens + 1)).to(backbone.device)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(vocabulary, (1, tokens)).to(backbone.device)
    model(**inputs)
    return found
