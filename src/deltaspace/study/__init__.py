"""A recipe, the folder of what it made, running and resuming."""

from deltaspace.study.folder import measures, rows
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.run import Report, check_tasks, run
from deltaspace.study.sweep import Sweep, load_sweep, run_sweep, sweep_rows

__all__ = [
    "Recipe",
    "Report",
    "Sweep",
    "check_tasks",
    "load_recipe",
    "load_sweep",
    "measures",
    "rows",
    "run",
    "run_sweep",
    "sweep_rows",
]
