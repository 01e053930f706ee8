"""Delta tuning methods. A new one is one file and one entry here."""

from deltaspace.deltas.adapter import Adapter
from deltaspace.deltas.delta import AttachedDelta, Delta, derived_seed
from deltaspace.deltas.layout import Layout
from deltaspace.deltas.lora import Lora
from deltaspace.deltas.prefix import Prefix

DELTAS: dict[str, type[Delta]] = {delta.name: delta for delta in (Adapter, Lora, Prefix)}

__all__ = ["DELTAS", "Adapter", "AttachedDelta", "Delta", "Layout", "Lora", "Prefix", "derived_seed"]
