"""What a sweep would make: the solutions that all points share, and the points' own artefacts."""

from __future__ import annotations

from pathlib import Path

from deltaspace.storage import path_of
from deltaspace.study.plan import Plan, PlannedStudy, planned
from deltaspace.study.points import Sweep, last_stage, points, studies_of
from deltaspace.study.recipe import Recipe
from deltaspace.study.sweep import check_free


def plan_sweep(sweep: Sweep, recipe: Recipe, out: Path | str) -> Plan:
    """What `run_sweep` would make; what several points share is made once.

    Raises:
        DeltaspaceError: as `run_sweep`, before it makes anything.
    """
    out, recipes = path_of(out), studies_of(points(sweep, recipe), recipe)
    check_free(out)
    studies = (PlannedStudy(each, out / name, last_stage(name)) for name, each in recipes.items())
    return planned(out, [out / name for name in recipes], studies)
