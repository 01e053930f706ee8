"""The command line. Nothing heavy is imported before a command needs it: `deltaspace --help` is instant."""

from __future__ import annotations

import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from deltaspace.cli.progress import Bars
    from deltaspace.study.run import Report, Until
    from deltaspace.subspace import Subspace

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


class Tracker(str, Enum):
    """accelerate's trackers that curves can be sent to."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"


class Drawing(str, Enum):
    """The figures, `deltaspace.figures.FIGURES`, without importing them for every `--help`."""

    scores = "scores"
    transfer = "transfer"
    landscape = "landscape"
    panels = "panels"
    similarity = "similarity"
    map = "map"
    curves = "curves"
    sweep = "sweep"


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
        _run(recipe, out, "landscape")
    show(out)
    report(out)


@app.command()
def run(
    recipe: RecipeFile,
    out: Out,
    track: Annotated[Tracker | None, typer.Option(help="Send the curves and scores to a tracker as well (accelerate's).")] = None,
) -> None:
    """Run all stages of a recipe; what is there and valid is kept.

    Example: deltaspace run recipes/sentiment.yaml --out runs/sentiment
    """
    _run(recipe, out, "landscape", track)


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
    """Up to stage 3: every vector decoded as every other delta. `run` samples the recipe's landscapes too.

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
        from deltaspace.report import figures

        figures.check_format(figure)
        drawn = figures.sweep_figure(found) if swept else figures.scores_figure(found)
        print(f"figure: {figures.save_figure(drawn, figure)}")


@app.command()
def landscape(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A finished study's folder.")],
    task: Annotated[str, typer.Option(help="Whose examples are scored.")],
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Two (a path) or three (a plane), or with --direction one: a delta, TASK:DELTA, a source task, mean, zero."
        ),
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="One or two: principal-1, principal-2 …, random-1 …, or d numbers with commas.")
    ] = None,
    grid: Annotated[str | None, typer.Option(metavar="MIN:MAX:N", help="For every axis; or one for each, with a comma.")] = None,
    split: Annotated[str, typer.Option(help="test or dev.")] = "test",
    examples: Annotated[int, typer.Option(help="So many of them.")] = 200,
    tolerance: Annotated[
        float, typer.Option(help="Fill in cells between coarser ones whose scores differ by at most this; 0 samples all.")
    ] = 0.0,
    precision: Annotated[str, typer.Option(help="Of products: fp32, bf16, or auto: bf16 where the machine has it.")] = "auto",
    dim: Annotated[int | None, typer.Option(help="d, where the study has several.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed, where the study has several.")] = None,
    name: Annotated[str | None, typer.Option(help="Of its file and figures.")] = None,
    threshold: Annotated[float, typer.Option(help="The common region's, in percent of each delta's best.")] = 95.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the regions as JSON.")] = False,
) -> None:
    """How well every delta does on a slice of a study's subspace, and the region where all of them do.

    Example: deltaspace landscape runs/demo --task movies --point adapter --point lora
    """
    from pydantic import ValidationError

    from deltaspace.landscape.region import check_threshold
    from deltaspace.report.tables import region_rows, region_table
    from deltaspace.study.explore import explore
    from deltaspace.study.landscapes import SliceSpec

    _quiet()
    check_threshold(threshold)
    points = tuple(point or ())
    if direction and len(points) != 1:
        raise DeltaspaceError(
            "a slice along directions has one point", found=", ".join(points) or "none", mend="--point NAME, once"
        )
    asked = {
        "task": task,
        "points": () if direction else points,
        "point": points[0] if direction else None,
        "directions": tuple(_direction(one) for one in direction or ()),
        "grid": grid,
        "split": split,
        "examples": examples,
        "tolerance": tolerance,
        "precision": precision,
        "dim": dim,
        "seed": seed,
        "name": name,
    }
    try:
        spec = SliceSpec.model_validate(asked)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, own['loc']))} {own['msg'].removeprefix('Value error, ')}".strip() for own in error.errors()]
        raise DeltaspaceError("no such slice: " + "; ".join(told), mend="deltaspace landscape --help") from None
    with _bars() as bars:
        own, found = explore(study, spec, report=bars)
    if as_json:
        print(json.dumps(region_rows({own: found}, threshold), indent=1))
        return
    Console(width=100).print(region_table(own, found, threshold))
    print(f"figures: deltaspace figure landscape {study} --landscape {own} -o {own}.png")


def _direction(text: str) -> str | tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return text


@app.command()
def figure(
    name: Annotated[Drawing, typer.Argument(metavar="FIGURE", help="One of " + ", ".join(one.value for one in Drawing) + ".")],
    study: StudyFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to (.png, .svg, .pdf).")],
    dim: Annotated[int | None, typer.Option(help="d, where the study has several.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task (transfer, curves).")] = None,
    landscape: Annotated[str | None, typer.Option(help="Which landscape; the first by default (landscape, panels).")] = None,
    threshold: Annotated[float, typer.Option(help="In percent of each delta's best (landscape, panels).")] = 95.0,
    loss: Annotated[bool, typer.Option("--loss", help="Losses in place of scores (panels).")] = False,
) -> None:
    """One figure of a study, or of a sweep.

    Example: deltaspace figure landscape runs/demo -o landscape.png
    """
    from deltaspace.figures import Options, check_format, draw, save_figure

    check_format(out)
    drawn = draw(name.value, study, Options(dim, task, landscape, threshold, "loss" if loss else "score"))
    print(f"figure: {save_figure(drawn, out)}")


@app.command()
def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to; report/index.html in the study by default.")] = None,
) -> None:
    """Everything a study found on one page that opens in a browser without a server: tables, figures, its landscapes.

    Example: deltaspace report runs/demo
    """
    from deltaspace.report.page import write_report

    with _bars() as bars:
        path = write_report(study, out, progress=bars.progress)
    print(f"report: {path}")


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


@app.command("import")
def import_(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder; made if need be.")],
    checkpoints: Annotated[list[str], typer.Argument(metavar="FOLDER|HUB_ID…", help="peft's checkpoints (safetensors).")],
    task: Annotated[list[str], typer.Option(help="Of which task; once for each checkpoint, in their order.")],
    recipe: Annotated[Path | None, typer.Option(help="The recipe, where the study has none yet.")] = None,
    delta: Annotated[
        str | None, typer.Option(help="Which delta of the recipe they are; its only one of peft by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which seed of the recipe; its first by default.")] = None,
    initial_seed: Annotated[
        int | None,
        typer.Option(help="The seed that their initial values were drawn from (torch.manual_seed), where it is known."),
    ] = None,
    same_base: Annotated[bool, typer.Option("--same-base", help="Their model is the recipe's under another name.")] = False,
) -> None:
    """Take checkpoints of peft as solutions of a study's tasks, in place of training them.

    Example: deltaspace import runs/zoo my-loras/sst2 my-loras/trec --task sst2 --task trec --recipe zoo.yaml
    """
    from deltaspace.study.recipe import load_recipe
    from deltaspace.study.take_in import import_solutions

    _quiet()
    if len(task) != len(checkpoints) or len(set(task)) != len(task):
        raise DeltaspaceError(
            "each checkpoint is of one task",
            found=f"{len(checkpoints)} checkpoints, --task {', '.join(task)}",
            mend="one --task for each",
        )
    path = recipe or study / "recipe.yaml"
    if recipe is None and not path.exists():
        raise DeltaspaceError(f"{study} has no recipe yet", mend="name it: --recipe RECIPE")
    done = import_solutions(
        load_recipe(path),
        study,
        dict(zip(task, checkpoints, strict=True)),
        delta=delta,
        seed=seed,
        initial_seed=initial_seed,
        same_base=same_base,
        base=path.parent,
    )
    for own in done:
        print(f"{own.name}: {own.delta} of {own.task}, score {own.score.metric:.1f} on {own.score.count} test examples")
    print(f"theta0 of {done[0].delta}: {done[0].initial}")


@app.command()
def export(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or one of an exported subspace.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to.")],
    task: Annotated[str | None, typer.Option(help="Decode this task; without it the whole subspace is written.")] = None,
    delta: Annotated[str | None, typer.Option(help="As which delta.")] = None,
    through: Annotated[
        str | None, typer.Option(help="The vector found through this delta; by default through --delta itself.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="d, where the study has several.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed, where the study has several.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Add the delta to the weights and write a plain model.")] = False,
    push: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Put it on the Hugging Face Hub too.")
    ] = None,
) -> None:
    """Write a task as a checkpoint of any delta, or the subspace itself with all its vectors.

    Example: deltaspace export runs/demo --task products --delta lora -o products-lora
    """
    from deltaspace.storage import push_to_hub

    _quiet()
    subspace = _subspace(study, dim, seed)
    if task is None:
        if delta or through or merge:
            raise DeltaspaceError("--delta, --through and --merge are for one task", mend="name it: --task NAME")
        subspace.save_pretrained(out)
        print(f"{out}: a subspace of {subspace.dim} dimensions with {len(subspace.vectors)} vectors")
    else:
        if delta is None:
            raise DeltaspaceError("as which delta?", expected="--delta and one of " + ", ".join(subspace.projections))
        if delta not in subspace.projections:
            raise DeltaspaceError(f"the subspace has no delta {delta!r}", expected=", ".join(subspace.projections))
        from deltaspace.backbone import load_backbone
        from deltaspace.checkpoints.export import export_delta
        from deltaspace.subspace.serve import SubspaceModel

        attached = SubspaceModel(subspace, load_backbone(subspace.model, family=subspace.family or None)).attached(delta)
        vector = subspace.vector(task, through or delta)
        provenance = {"task": task, "vector found through": through or delta, "d": subspace.dim, "seed": subspace.seed}
        export_delta(
            attached, subspace.to(attached.backbone.device).decode(delta, vector), out, merge=merge, provenance=provenance
        )
        print(f"{out}: {task} as {delta}" + (", merged into the model" if merge else ""))
    if push is not None:
        print(f"pushed: {push_to_hub(out, push)}")


@app.command()
def info(
    place: Annotated[
        str, typer.Argument(metavar="STUDY|FOLDER|HUB_ID", help="A study, or a subspace's folder here or on the Hub.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    dim: Annotated[int | None, typer.Option(help="d, where a study has several.")] = None,
) -> None:
    """What is in a subspace: its model, deltas, projections, source tasks and vectors.

    Example: deltaspace info runs/demo
    """
    from deltaspace.report.tables import info_tables
    from deltaspace.subspace.pretrained import describe, described

    study = (Path(place) / "recipe.yaml").exists()
    found = describe(_subspace(Path(place), dim, None)) if study else described(place)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console(width=min(100, Console().width) if sys.stdout.isatty() else 100)
    for part in info_tables(found):
        console.print(part)


def _subspace(place: Path, dim: int | None, seed: int | None) -> Subspace:
    from deltaspace.study.results import study_subspace
    from deltaspace.subspace import Subspace

    if (place / "recipe.yaml").exists():
        return study_subspace(place, dim, seed)
    return Subspace.from_pretrained(place)


def _run(recipe: Path, out: Path, until: Until, track: Tracker | None = None) -> None:
    from contextlib import ExitStack

    from deltaspace.study.recipe import load_recipe
    from deltaspace.study.run import run as run_study

    _quiet()
    started = time.perf_counter()
    found = load_recipe(recipe)
    with ExitStack() as stack:
        report = stack.enter_context(_bars())
        told: Report = report
        if track is not None:
            from deltaspace.cli.trackers import Tracked

            told = stack.enter_context(Tracked(report, track.value, out, found))
        made = run_study(found, out, base=recipe.parent, until=until, report=told)
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
    from deltaspace.cli.progress import Bars

    return Bars(Console(stderr=True))
