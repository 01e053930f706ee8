"""What a sweep would make: the solutions that all points share, and the points' own artefacts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deltaspace.study.plan import Plan, PlannedStudy, planned
from deltaspace.study.points import Sweep, points
from deltaspace.study.recipe import Recipe
from deltaspace.study.stages.independent import INDEPENDENT


def plan_sweep(sweep: Sweep, recipe: Recipe, out: Path | str) -> Plan:
    """What `run_sweep` would make; what several points share is made once.

    Raises:
        DeltaspaceError: as `run_sweep`, before it makes anything.
    """
    out, listed = Path(out), points(sweep, recipe)
    seeds = tuple(dict.fromkeys(seed for point in listed for seed in point.recipe.seed))
    # As `run_sweep` has them: the solutions lie in a study of their own.
    shared = out / INDEPENDENT.name

    def studies() -> Iterator[PlannedStudy]:
        yield PlannedStudy(recipe.model_copy(update={"seed": seeds, "rivals": ()}), shared, INDEPENDENT.name)
        for point in listed:
            yield PlannedStudy(point.recipe, out / point.name, None)

    return planned(out, [shared, *(out / point.name for point in listed)], studies())
