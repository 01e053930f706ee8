"""Verbs that run a recipe, whole or up to a stage, and that check it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaspace.cli._engines import engine_options
from deltaspace.cli._options import DryRun, Out, RecipeFile, Tracker
from deltaspace.cli._plan import print_plan
from deltaspace.cli._terminal import bars, print_made, quiet
from deltaspace.cli.results import report, show
from deltaspace.precision import where_it_helps

if TYPE_CHECKING:
    from deltaspace.study import Engine


@engine_options
def demo(out: Out = Path("runs/demo"), *, engine: Engine) -> None:
    """The whole method on a real model and real sentences, in minutes on a laptop; in bf16 where that is faster.

    Example: deltaspace demo
    """
    from importlib.resources import as_file, files

    with where_it_helps(), as_file(files("deltaspace") / "demo.yaml") as recipe:
        _run(recipe, out, engine=engine)
    show(out)
    report(out)


@engine_options
def run(
    recipe: RecipeFile,
    out: Out,
    track: Annotated[Tracker | None, typer.Option(help="Send the curves and scores to a tracker as well (accelerate's).")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the tensors of what is there too, and make anew what is damaged inside.")
    ] = False,
    join: Annotated[
        bool,
        typer.Option("--join", help="Where a run of this recipe is going on in --out, work beside it: nothing is made twice."),
    ] = False,
    dry_run: DryRun = False,
    *,
    engine: Engine,
) -> None:
    """Run all stages of a recipe; what is there and valid is kept.

    Example: deltaspace run recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, tracker=track, verify=verify, engine=engine, join=join, dry_run=dry_run)


@engine_options
def train(recipe: RecipeFile, out: Out, dry_run: DryRun = False, *, engine: Engine) -> None:
    """Stage 0 only: the independent solutions.

    Example: deltaspace train recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "independent", engine=engine, dry_run=dry_run)


@engine_options
def approximate(recipe: RecipeFile, out: Out, dry_run: DryRun = False, *, engine: Engine) -> None:
    """Up to stage 1: the subspace, from the source tasks' solutions.

    Example: deltaspace approximate recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "subspace", engine=engine, dry_run=dry_run)


@engine_options
def optimize(recipe: RecipeFile, out: Out, dry_run: DryRun = False, *, engine: Engine) -> None:
    """Up to stage 2: the unseen tasks' intrinsic vectors, and the recipe's rivals.

    Example: deltaspace optimize recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "rivals", engine=engine, dry_run=dry_run)


@engine_options
def transfer(recipe: RecipeFile, out: Out, dry_run: DryRun = False, *, engine: Engine) -> None:
    """Up to stage 3: every vector decoded as every other delta. `run` samples the recipe's landscapes too.

    Example: deltaspace transfer recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "transferred", engine=engine, dry_run=dry_run)


def check(
    recipe: RecipeFile,
    full: Annotated[bool, typer.Option("--full", help="Print the recipe with every default.")] = False,
) -> None:
    """Find every mistake of a recipe before anything runs: its keys, its tasks' files, its model.

    Example: deltaspace check recipes/sentiment.yaml --full
    """
    import yaml

    from deltaspace.study import check_recipe, load_recipe

    quiet()
    loaded = load_recipe(recipe)
    tasks = check_recipe(loaded)
    if full:
        print(yaml.safe_dump(loaded.model_dump(mode="json", by_alias=True), sort_keys=False), end="")
    for task in tasks:
        sizes = f"{len(task.train)} train, {len(task.dev)} dev, {len(task.test)} test"
        print(f"# {task.name}: {task.kind}, {task.metric}, {sizes}")
    print(f"# {recipe} is right")


def _run(
    recipe: Path,
    out: Path,
    until: str | None = None,
    tracker: Tracker | None = None,
    *,
    engine: Engine,
    verify: bool = False,
    join: bool = False,
    dry_run: bool = False,
) -> None:
    from deltaspace.study import Observer, load_recipe, plan_study, run_study
    from deltaspace.study.observer import Observers
    from deltaspace.training import Processes

    quiet()
    started = time.perf_counter()
    loaded = load_recipe(recipe)
    if dry_run:
        print_plan(plan_study(loaded, out, until=until, verify=verify))
        return
    with ExitStack() as stack:
        shown = stack.enter_context(bars())
        observers: list[Observer] = [shown]
        if tracker is not None:
            from deltaspace.cli.trackers import Tracking

            observers.append(stack.enter_context(Tracking(tracker.value, out, loaded)))
        made = run_study(loaded, out, until=until, verify=verify, observer=Observers(observers), engine=engine, join=join)
    if Processes.launched().first:
        print_made(out, made, time.perf_counter() - started, shown)
