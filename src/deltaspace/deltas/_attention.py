"""How a prefix gets into any model: transformers' attention interface, and which modules of a model go through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from deltaspace.memory import check_fits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

ATTENTION = "deltaspace_prefix"
_PROBE = "deltaspace_probe"


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    prefix: Any = module._modules.get("prefix")
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    length = prefix.key.shape[-2]
    key, value = prefix.before(key, value)
    if attention_mask is not None:
        # Every position sees the prefix; a boolean mask says so with True, an additive one with 0.
        attention_mask = F.pad(attention_mask, (length, 0), value=attention_mask.dtype == torch.bool)
    if options.get("position_bias") is not None:
        options["position_bias"] = F.pad(options["position_bias"], (length, 0))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _mask(*arguments: Any, **options: Any) -> Tensor | None:
    # Allowed to, sdpa leaves a causal mask out and hides what is ahead by position, which a prefix shifts.
    return sdpa_mask(*arguments, **{**options, "allow_is_causal_skip": False})


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, _mask)


@torch.no_grad()
def self_attentions(model: PreTrainedModel, backbone: Backbone, tokens: int) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Every self-attention module that calls the attention interface, with the keys and values that the PLM itself computes for
    random tokens, (heads, tokens, head size) each. The model is run once to see them, so that no architecture need be known.
    """
    # Attention weighs every token by every other.
    check_fits(f"a prefix of {tokens} tokens", tokens**2, "choose smaller settings of the delta", backbone.device)
    attentions: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        # Encoder and decoder get inputs of different lengths, so only cross-attention sees two different ones.
        if query.shape[2] == key.shape[2]:
            attentions[module] = (key[0, :, :tokens].clone(), value[0, :, :tokens].clone())
        return sdpa_attention_forward(module, query, key, value, *rest, **options)

    AttentionInterface.register(_PROBE, record)
    AttentionMaskInterface.register(_PROBE, _mask)
    model.set_attn_implementation(_PROBE)
    vocabulary = model.get_input_embeddings().num_embeddings
    inputs = {"input_ids": torch.randint(vocabulary, (1, tokens + 1)).to(backbone.device)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(vocabulary, (1, tokens)).to(backbone.device)
    model(**inputs)
    return attentions
