"""Names of files in the folders of studies and of parameter sweeps."""

from __future__ import annotations

RECIPE = "recipe.yaml"
# In the folder of a parameter sweep: its points.
SWEEP = "sweep.yaml"
# What ran where.
RUNS = "runs.json"
