"""Delta tuning methods. A new one is one file and one entry in `registry.py`."""

from deltaspace.deltas.adapter import Adapter
from deltaspace.deltas.delta import AttachedDelta, Delta, derived_seed
from deltaspace.deltas.layout import Layout
from deltaspace.deltas.lora import Lora
from deltaspace.deltas.peft_method import Peft
from deltaspace.deltas.prefix import Prefix
from deltaspace.deltas.registry import DELTAS, attach

__all__ = ["DELTAS", "Adapter", "AttachedDelta", "Delta", "Layout", "Lora", "Peft", "Prefix", "attach", "derived_seed"]
