"""Delta tuning methods. A new one is one file and one entry in `registry.py`."""

from deltaspace.deltas.adapter import Adapter
from deltaspace.deltas.apet import Apet
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.finetune import Finetune
from deltaspace.deltas.layout import Layout
from deltaspace.deltas.lora import Lora
from deltaspace.deltas.peft_method import Peft, PeftBacked, peft_settings
from deltaspace.deltas.prefix import Prefix
from deltaspace.deltas.registry import DELTAS, attach, make_delta, read_delta

__all__ = [
    "DELTAS",
    "Adapter",
    "Apet",
    "AttachedDelta",
    "Delta",
    "Finetune",
    "Layout",
    "Lora",
    "Peft",
    "PeftBacked",
    "Prefix",
    "attach",
    "make_delta",
    "peft_settings",
    "read_delta",
]
