"""A recipe, the folder of what it made, running and resuming."""

from deltaspace.study.folder import measures, rows
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.run import Report, check_tasks, run

__all__ = ["Recipe", "Report", "check_tasks", "load_recipe", "measures", "rows", "run"]
