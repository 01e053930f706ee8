"""Logits of a decoder where a target is, and nowhere else: a vocabulary is far wider than a model."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.families.batch import Inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def takes(model: PreTrainedModel, name: str) -> bool:
    """Whether the PLM's forward has a parameter of this name; a model around a PLM says which it is by `plm`."""
    return name in inspect.signature(getattr(model, "plm", model).forward).parameters


def logits_at(
    model: PreTrainedModel, inputs: Inputs, positions: Int[Tensor, "batch kept"], **options: Any
) -> Float[Tensor, "batch kept vocabulary"]:
    """Logits at some positions of each row, as the model itself computes them, scaling and soft caps included.

    Args:
        model: a causal language model with a delta applied.
        inputs: what it reads; the attention mask may be one of two dimensions for each row.
        positions: of each row.
        options: what else its forward takes.
    """
    given = {"input_ids": inputs.input_ids, "attention_mask": inputs.attention_mask, "use_cache": False, **options}
    kept, length = positions.shape[1], inputs.input_ids.shape[1]
    if kept < length and takes(model, "logits_to_keep") and _each_row_its_own():
        logits: Tensor = model(**given, logits_to_keep=positions).logits
        if logits.shape[:2] == positions.shape:
            return logits
    logits = model(**given).logits
    return logits[torch.arange(len(logits), device=logits.device).unsqueeze(1), positions]


def _each_row_its_own() -> bool:
    """Whether this transformers takes positions of each row; earlier ones take one list for all rows."""
    from transformers import modeling_utils

    return hasattr(modeling_utils, "slice_logits_to_keep")
