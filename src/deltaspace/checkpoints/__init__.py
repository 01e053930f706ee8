"""Checkpoints out (`export.py`), in (`load.py`, `read_peft.py`, `read_any.py`), and from one delta to another (`conversion.py`);
how each is written and read, its delta says.
"""

from deltaspace.checkpoints.conversion import CONVERT, Conversion, Converted, convert
from deltaspace.checkpoints.export import export_delta
from deltaspace.checkpoints.followed import Agreement
from deltaspace.checkpoints.load import load_delta
from deltaspace.checkpoints.read_any import base_of, load_tuned
from deltaspace.checkpoints.read_peft import Checkpoint, Checkpoints, drawn, initial_for, read_checkpoints

__all__ = [
    "CONVERT",
    "Agreement",
    "Checkpoint",
    "Checkpoints",
    "Conversion",
    "Converted",
    "base_of",
    "convert",
    "drawn",
    "export_delta",
    "initial_for",
    "load_delta",
    "load_tuned",
    "read_checkpoints",
]
