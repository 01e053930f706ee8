"""How each family of PLM reads a task as text. Each family is one module here, and registers itself."""

from deltaspace.families.batch import Batch, Evaluation, Inputs, Item
from deltaspace.families.family import FAMILIES, Family
from deltaspace.families.prompting import PLAIN, Prompting

__all__ = ["FAMILIES", "PLAIN", "Batch", "Evaluation", "Family", "Inputs", "Item", "Prompting"]
