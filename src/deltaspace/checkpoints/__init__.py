"""Checkpoints out (`export.py`) and in (`load.py`, `read_peft.py`); how each is written and read, its delta says."""

from deltaspace.checkpoints.export import export_delta
from deltaspace.checkpoints.load import load_delta
from deltaspace.checkpoints.read_peft import Checkpoint, drawn, initial_for, read_checkpoints

__all__ = ["Checkpoint", "drawn", "export_delta", "initial_for", "load_delta", "read_checkpoints"]
