"""A recipe for tests of runs that are disturbed."""

from __future__ import annotations

import json


def longer(recipe, **changes):
    """The recipe in a file with trainings of several steps, and other changes."""
    said = json.loads(recipe.read_text())
    steps = {"steps": 12, "lr": 0.02, "batch_size": 4, "evaluate_every": 3}
    said |= {"projection": "dense", "train": steps, "approximate": steps, "optimize": steps, **changes}
    recipe.write_text(json.dumps(said))
    return recipe
