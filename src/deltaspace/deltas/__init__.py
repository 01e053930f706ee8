"""Delta tuning methods. A new one is one file, in which `@DELTAS.register` stands before its class."""

from deltaspace.deltas.adapter import Adapter
from deltaspace.deltas.apet import Apet
from deltaspace.deltas.checkpoint import CheckpointCard
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.finetune import Finetune
from deltaspace.deltas.layout import Layout
from deltaspace.deltas.lora import Lora
from deltaspace.deltas.native import native_lora
from deltaspace.deltas.peft_backed import PeftBacked
from deltaspace.deltas.peft_checkpoint import peft_settings
from deltaspace.deltas.peft_method import Peft
from deltaspace.deltas.prefix import Prefix
from deltaspace.deltas.registry import DELTAS, attach, config_settings, is_config, make_delta, read_delta

__all__ = [
    "DELTAS",
    "Adapter",
    "Apet",
    "AttachedDelta",
    "CheckpointCard",
    "Delta",
    "Finetune",
    "Layout",
    "Lora",
    "Peft",
    "PeftBacked",
    "Prefix",
    "attach",
    "config_settings",
    "is_config",
    "make_delta",
    "native_lora",
    "peft_settings",
    "read_delta",
]
