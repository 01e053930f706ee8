"""The verb that runs a parameter sweep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaspace.cli._engines import engine_options
from deltaspace.cli._options import DryRun, Out
from deltaspace.cli._plan import print_plan
from deltaspace.cli._terminal import bars, print_made, quiet
from deltaspace.cli.results import show

if TYPE_CHECKING:
    from deltaspace.study import Engine

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep (YAML): a recipe, and what to vary.")]


@engine_options
def sweep(sweep_file: SweepFile, out: Out, dry_run: DryRun = False, *, engine: Engine) -> None:
    """One recipe over d, source tasks, deltas, projections, seeds; what is there and valid is kept.

    Example: deltaspace sweep recipes/sweeps/projections.yaml --out runs/sweep
    """
    from deltaspace.study import load_sweep, plan_sweep, run_sweep

    quiet()
    if dry_run:
        print_plan(plan_sweep(*load_sweep(sweep_file), out))
        return
    started = time.perf_counter()
    with bars() as shown:
        loaded, recipe = load_sweep(sweep_file)
        made = run_sweep(loaded, recipe, out, observer=shown, engine=engine)
    print_made(out, made, time.perf_counter() - started, shown)
    show(out)
