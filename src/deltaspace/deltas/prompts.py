"""peft's prompt methods behind the PLM's own interface.

Prompt tuning (Lester et al. 2021, arXiv 2104.08691) and P-tuning (Liu et al. 2021, arXiv 2103.10385) put trained embeddings
before those of the text; peft's prefix-tuning puts keys and values into the cache. A family asks for the states and logits of the
text only, so those of the virtual tokens are cut off; an encoder-decoder's decoder sees them in the encoder's output, as in peft.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PretrainedConfig


class Prompted(nn.Module):
    """A PLM that reads virtual tokens before every text.

    Args:
        peft_model: peft's model with a prompt method.
    """

    def __init__(self, peft_model: PeftModel) -> None:
        super().__init__()
        self.peft_model = peft_model
        config = peft_model.active_peft_config
        self._tokens = int(config.num_virtual_tokens)
        self._cached = config.peft_type == "PREFIX_TUNING"

    @property
    def plm(self) -> Any:
        """The PLM itself."""
        return self.peft_model.get_base_model()

    @property
    def config(self) -> PretrainedConfig:
        """The PLM's."""
        return self.plm.config

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        **rest: Any,
    ) -> Any:
        """As the PLM's forward; outputs, (batch, tokens, …), are those of the text's tokens, without the virtual ones.

        A cache is one that `generate` filled: it holds the virtual tokens already.
        """
        mask = self._masked(attention_mask)
        if encoder_outputs is not None:  # the encoder has read the virtual tokens
            return self.plm(encoder_outputs=encoder_outputs, attention_mask=mask, past_key_values=past_key_values, **rest)
        assert input_ids is not None
        positions = rest.pop("position_ids", None)
        if positions is not None:
            rest["position_ids"] = positions + self._tokens
        if past_key_values is not None:
            return self.plm(input_ids=input_ids, attention_mask=mask, past_key_values=past_key_values, **rest)
        if self._cached:
            prefix = self.peft_model.get_prompt(len(input_ids), max_cache_len=input_ids.shape[1] + self._tokens)
            return self.plm(input_ids=input_ids, attention_mask=mask, past_key_values=prefix, **rest)
        return self._before(input_ids, mask, **rest)

    def _before(self, input_ids: Tensor, mask: Tensor | None, **rest: Any) -> Any:
        """The forward with the virtual tokens' embeddings before those of the text."""
        count = self._tokens
        if mask is not None and mask.dim() == 4:  # of each token: virtual ones see those before them
            own = torch.ones(count, mask.shape[-1], dtype=mask.dtype, device=mask.device).tril()
            mask = torch.cat([own.expand(len(mask), 1, -1, -1), mask], dim=2)
        if "position_ids" in rest:
            virtual = torch.arange(count, device=input_ids.device).expand(len(input_ids), -1)
            rest["position_ids"] = torch.cat([virtual, rest["position_ids"]], dim=1)
        kept = rest.get("logits_to_keep")
        if kept is not None:
            rest["logits_to_keep"] = kept + count
        output = self.plm(inputs_embeds=self._embedded(input_ids), attention_mask=mask, **rest)
        if not self.config.is_encoder_decoder:
            for name in ("logits", "last_hidden_state"):
                if name in output and not (name == "logits" and kept is not None):
                    output[name] = output[name][:, count:]
        return output

    def get_encoder(self) -> Callable[..., Any]:
        """The encoder, which reads the virtual tokens too."""

        def encode(input_ids: Tensor, attention_mask: Tensor | None = None, **rest: Any) -> Any:
            encoder = self.plm.get_encoder()
            return encoder(inputs_embeds=self._embedded(input_ids), attention_mask=self._masked(attention_mask), **rest)

        return encode

    def generate(self, **inputs: Any) -> Any:
        """As the PLM's generate: the tokens, (batch, length), behind those of the input where the PLM is decoder-only, or with
        `return_dict_in_generate` all that it gives.
        """
        ids, mask = inputs.pop("input_ids", None), self._masked(inputs.pop("attention_mask", None))
        if self._cached:
            assert ids is not None
            prefix = self.peft_model.get_prompt(len(ids), max_cache_len=ids.shape[1] + self._tokens)
            # generate leaves out as many of its inputs' tokens as the cache holds: padding stands there in their stead.
            padded = F.pad(ids, (self._tokens, 0))
            output = self.plm.generate(padded, attention_mask=mask, past_key_values=prefix, **inputs)
            return _tokens(output, lambda written: written[:, self._tokens :])
        if ids is None:
            return self.plm.generate(attention_mask=mask, **inputs)
        # Given embeddings, a decoder-only model gives back the new tokens alone.
        before = ids[:, :0] if self.config.is_encoder_decoder else ids
        return _tokens(
            self.plm.generate(inputs_embeds=self._embedded(ids), attention_mask=mask, **inputs),
            lambda written: torch.cat([before, written], dim=1),
        )

    def _embedded(self, ids: Tensor) -> Tensor:
        embedded = self.peft_model.word_embeddings(ids)
        prompts = self.peft_model.get_prompt(len(ids))[:, : self._tokens].to(embedded.dtype)
        return torch.cat([prompts, embedded], dim=1)

    def _masked(self, mask: Tensor | None) -> Tensor | None:
        # The last dimension is that of what is seen, in a mask of each token too.
        return None if mask is None else F.pad(mask, (self._tokens, 0), value=1)


def _tokens(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What generate gave, with its tokens changed."""
    if isinstance(output, torch.Tensor):
        return change(output)
    output["sequences"] = change(output["sequences"])
    return output
