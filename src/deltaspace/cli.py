"""The command line. Nothing heavy is imported before a command needs it: `deltaspace --help` is instant."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from deltaspace.report.progress import Bars
    from deltaspace.study.run import Until

app = typer.Typer(
    help="One low-dimensional space for every way of tuning a pre-trained language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_error = Console(stderr=True)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or a sweep's.")]


def main() -> None:
    """Run the command line; a user's mistake ends with one message and exit code 2."""
    try:
        app(standalone_mode=True)
    except DeltaspaceError as error:
        _error.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _error.print("interrupted: finished work is kept; run the same command to go on", markup=False)
        sys.exit(130)


@app.command()
def demo(out: Out = Path("runs/demo")) -> None:
    """The whole method on a real model and real sentences, in minutes on a laptop.

    Example: deltaspace demo
    """
    from importlib.resources import as_file, files

    with as_file(files("deltaspace") / "demo.yaml") as recipe:
        _run(recipe, out, "transfer")
    show(out)


@app.command()
def run(recipe: RecipeFile, out: Out) -> None:
    """Run all stages of a recipe; what is there and valid is kept.

    Example: deltaspace run recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "transfer")


@app.command()
def train(recipe: RecipeFile, out: Out) -> None:
    """Stage 0 only: the independent solutions.

    Example: deltaspace train recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "train")


@app.command()
def approximate(recipe: RecipeFile, out: Out) -> None:
    """Up to stage 1: the subspace, from the source tasks' solutions.

    Example: deltaspace approximate recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "approximate")


@app.command()
def optimize(recipe: RecipeFile, out: Out) -> None:
    """Up to stage 2: the unseen tasks' intrinsic vectors.

    Example: deltaspace optimize recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "optimize")


@app.command()
def transfer(recipe: RecipeFile, out: Out) -> None:
    """Up to stage 3: every vector decoded as every other delta. The same as `run`.

    Example: deltaspace transfer recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "transfer")


@app.command()
def sweep(
    sweep_file: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep (YAML): a recipe, and what to vary.")], out: Out
) -> None:
    """One recipe over d, source tasks, deltas, projections, seeds; what is there and valid is kept.

    Example: deltaspace sweep recipes/sweeps/projections.yaml --out runs/sweep
    """
    from deltaspace.study.sweep import load_sweep, run_sweep

    _quiet()
    started = time.perf_counter()
    with _bars() as report:
        found, recipe, base = load_sweep(sweep_file)
        made = run_sweep(found, recipe, out, base=base, report=report)
    _told(out, made, time.perf_counter() - started, report)
    show(out)


@app.command()
def show(
    study: StudyFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Write the figure here (.png, .svg, .pdf).")] = None,
) -> None:
    """What a study or a sweep found: scores, optimization, transfer, rivals.

    Example: deltaspace show runs/demo --json
    """
    from deltaspace.report import figure as figures
    from deltaspace.report.tables import sweep_table, tables
    from deltaspace.study.folder import rows
    from deltaspace.study.sweep import is_sweep, sweep_rows

    swept = is_sweep(study)
    found = sweep_rows(study) if swept else rows(study)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        console = Console(width=min(100, Console().width) if sys.stdout.isatty() else 100)
        for table in [sweep_table(found)] if swept else tables(found):
            console.print(table)
    if figure is not None:
        if figure.suffix not in (".png", ".svg", ".pdf"):
            raise DeltaspaceError(f"no figure format {figure.suffix!r}", expected=".png, .svg or .pdf")
        drawn = figures.sweep_figure(found) if swept else figures.figure(found)
        print(f"figure: {figures.save_figure(drawn, figure)}")


@app.command()
def check(
    recipe: RecipeFile,
    full: Annotated[bool, typer.Option("--full", help="Print the recipe with every default.")] = False,
) -> None:
    """Find every mistake of a recipe before anything runs: its keys, its tasks' files, its model.

    Example: deltaspace check recipes/sentiment.yaml --full
    """
    from deltaspace.study.recipe import load_recipe
    from deltaspace.study.run import check_tasks

    _quiet()
    found = load_recipe(recipe)
    tasks = check_tasks(found, recipe.parent)
    if full:
        import yaml

        print(yaml.safe_dump(found.model_dump(mode="json", by_alias=True), sort_keys=False), end="")
    for task in tasks:
        sizes = f"{len(task.train)} train, {len(task.dev)} dev, {len(task.test)} test"
        print(f"# {task.name}: {task.kind}, {task.metric}, {sizes}")
    print(f"# {recipe} is right")


def _run(recipe: Path, out: Path, until: Until) -> None:
    from deltaspace.study.recipe import load_recipe
    from deltaspace.study.run import run as run_study

    _quiet()
    started = time.perf_counter()
    with _bars() as report:
        made = run_study(load_recipe(recipe), out, base=recipe.parent, until=until, report=report)
    _told(out, made, time.perf_counter() - started, report)


def _told(out: Path, made: int, seconds: float, report: Bars) -> None:
    if made:
        parts = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in report.seconds.items())
        print(f"{out}: {made} made in {seconds:.0f} s ({parts})")
    else:
        print(f"{out}: everything is there and valid; nothing to do")


def _quiet() -> None:
    # transformers' own bars and hints would break ours.
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _bars() -> Bars:
    """Two progress bars: artefacts of the study, steps of the training that runs; plain lines where there is no terminal."""
    from deltaspace.report.progress import Bars

    return Bars(Console(stderr=True))
