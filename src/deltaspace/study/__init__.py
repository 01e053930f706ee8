"""A recipe, the folder of what it made, running and resuming."""

from deltaspace.study.explore import explore
from deltaspace.study.folder import measures, rows
from deltaspace.study.history import history
from deltaspace.study.landscapes import SliceSpec, landscapes
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.results import study_subspace
from deltaspace.study.run import Report, check_tasks, run
from deltaspace.study.sweep import Sweep, load_sweep, run_sweep, sweep_rows
from deltaspace.study.take_in import import_solutions

__all__ = [
    "Recipe",
    "Report",
    "SliceSpec",
    "Sweep",
    "check_tasks",
    "explore",
    "history",
    "import_solutions",
    "landscapes",
    "load_recipe",
    "load_sweep",
    "measures",
    "rows",
    "run",
    "run_sweep",
    "study_subspace",
    "sweep_rows",
]
