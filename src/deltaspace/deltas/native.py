"""Which checkpoints of peft are exactly what the delta `lora` is, of which one pass has several vectors, as not of peft's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaspace.deltas.peft_checkpoint import WEIGHTS, without_warnings

# What training dropped, and how peft lays out a layer that tells it itself, change nothing in what a LoRA computes.
_FREE = {"r", "lora_alpha", "target_modules", "lora_dropout", "fan_in_fan_out"}
_FACTOR = re.compile(r".*\.lora_[AB]\.weight")


def native_lora(folder: Path, method: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of the delta `lora` that a checkpoint of peft fits exactly; None where there are none.

    It fits where it is a LoRA of linear modules with one rank and one alpha, started as peft starts it by default, and nothing
    beside: no bias, DoRA, rsLoRA, patterns of ranks, chosen layers, embeddings or convolutions.

    Args:
        folder: the checkpoint's; the names and shapes of its tensors are looked at.
        method: peft's name of it.
        settings: of its configuration, as `peft_settings` reads them.
    """
    if method != "LORA":
        return None
    from peft import LoraConfig

    with without_warnings():
        defaults = LoraConfig().to_dict()
    beside = [key for key, value in settings.items() if key not in _FREE and not _same(value, defaults.get(key))]
    rank, alpha, modules = settings.get("r"), settings.get("lora_alpha", defaults["lora_alpha"]), settings.get("target_modules")
    numbers = isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and alpha > 0
    if beside or not numbers or not isinstance(modules, list) or not _of_matrices(folder / WEIGHTS):
        return None
    return {"r": rank, "alpha": float(alpha), "target_modules": sorted(modules)}


def _same(value: Any, default: Any) -> bool:
    """Nothing is written as null, [], {} or false by different versions of peft."""
    return bool(value == default or not (value or default))


def _of_matrices(path: Path) -> bool:
    """Whether all tensors of a file are the two factors of linear modules; not, where it cannot be read: its reader tells why."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            names = list(opened.keys())
            return bool(names) and all(_FACTOR.fullmatch(name) and len(opened.get_slice(name).get_shape()) == 2 for name in names)
    except (SafetensorError, OSError):
        return False
