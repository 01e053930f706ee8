"""Verbs that show what a study found: tables, figures, the report; and landscapes, sampled on demand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaspace.cli._options import Dim, Seed, StudyFolder, refuse_sweep
from deltaspace.cli._terminal import bars, hint, print_json, print_tables, quiet
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import figure_names
from deltaspace.names import counted

if TYPE_CHECKING:
    from deltaspace.study import Kept, MissedRow, ScoreRow, SliceSpec


def show(
    study: StudyFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Write the figure here (.png, .svg, .pdf).")] = None,
) -> None:
    """What a study or a sweep found: scores, optimization, transfer with its controls, rivals, the deltas' disagreement.

    Example: deltaspace show runs/demo --json
    """
    from deltaspace.figures import check_format, draw, save_figure
    from deltaspace.report.kept import kept_table
    from deltaspace.report.tables import disagreement_table, missed_table, sweep_tables, tables
    from deltaspace.study import (
        is_sweep,
        outdated,
        points_without_scores,
        read_disagreements,
        read_kept,
        read_missed,
        read_radii,
        read_scores,
        read_sweep_scores,
    )

    if figure is not None:
        check_format(figure)
    left_out: list[str] = []
    if is_sweep(study):
        swept = read_sweep_scores(study)
        rows, shown, name = list(map(asdict, swept)), sweep_tables(swept), "sweep"
    else:
        scores = read_scores(study)
        kept = read_kept(study)
        missed = read_missed(study)
        rows, shown, name = _all_rows(scores, kept, missed), tables(scores), "scores"
        if kept:
            shown.append(kept_table(kept))
        if missed:
            shown.append(missed_table(missed))
        if disagreements := read_disagreements(study):
            shown.append(disagreement_table(disagreements, read_radii(study)))
        left_out = outdated(study)
    if as_json:
        print_json(rows)
    else:
        print_tables(shown)
        if left_out:
            print(
                f"left out: {counted(len(left_out), 'artefact')} made from others than those that are there; run the recipe again"
            )
        if is_sweep(study):
            if without := points_without_scores(study):
                print(f"without scores: {', '.join(without)}; deltaspace status {study} says why")
        else:
            _tell_interruption(study)
    if figure is not None:
        print(f"figure: {save_figure(draw(name, study), figure)}")


def _all_rows(scores: list[ScoreRow], kept: list[Kept], missed: list[MissedRow]) -> list[dict[str, Any]]:
    """Rows of scores for JSON; those of imported and of reconstructed solutions say what is kept of them too, those of translated
    vectors what is missed.
    """
    measured = {(row.dim, row.task, row.delta, row.seed): row for row in kept}
    followed: dict[tuple[object, ...], MissedRow] = {
        (row.dim, row.task, row.source_delta, row.delta, row.seed): row for row in missed
    }
    rows = []
    for score in scores:
        row, said = asdict(score), measured.get((score.dim, score.task, score.delta, score.seed))
        if said is not None and score.stage in ("independent", "reconstructed"):
            row["kept"] = {name: getattr(said, name) for name in ("source", "parameter_error", "disagreement", "before")}
        theirs = followed.get((score.dim, score.task, score.source_delta, score.delta, score.seed))
        if theirs is not None and score.stage == "translated":
            row["missed"] = {name: getattr(theirs, name) for name in ("start", "before", "after")}
        rows.append(row)
    return rows


def _tell_interruption(study: Path) -> None:
    """Say where the last run of a study did not come to its end, and where nobody knows."""
    from deltaspace.study import read_history

    try:
        history = read_history(study)
    except DeltaspaceError as error:
        print(f"whether the last run came to its end is not known: {error}")
        return
    if history and history[-1].interrupted:
        print(f"the last run, started {history[-1].started}, was {history[-1].ended}; run the recipe again to go on")


def status(
    study: StudyFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """How far a study or a sweep is: what is there, what is being made and where, what failed, how long it will take.

    It may be asked for while a run goes on, from another terminal or machine, and when none does.

    Example: deltaspace status runs/demo
    """
    from deltaspace.cli._status import status_tables, status_text
    from deltaspace.study import read_status

    read = read_status(study)
    if as_json:
        print_json({**asdict(read), "complete": read.complete})
        return
    print_tables(status_tables(read))
    for line in status_text(read):
        print(line)


def landscape(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A finished study's folder.")],
    task: Annotated[str, typer.Option(help="Whose examples are scored.")],
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Two (a line) or three (a plane), or with --direction one: a delta, TASK:DELTA, a source task, mean, zero."
        ),
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="One or two: principal-1, principal-2 …, random-1 …, or d numbers with commas.")
    ] = None,
    grid: Annotated[str | None, typer.Option(metavar="MIN:MAX:N", help="For every axis; or one for each, with a comma.")] = None,
    split: Annotated[str | None, typer.Option(help="test or dev.")] = None,
    examples: Annotated[int | None, typer.Option(help="So many of them.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Fill in cells between coarser ones whose scores differ by at most this; 0 samples all.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of products: fp32, bf16, or auto: bf16 where the machine has it.")
    ] = None,
    dim: Dim = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Of its file and figures.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The common region's, in percent of each delta's best.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the regions as JSON.")] = False,
) -> None:
    """How well every delta does on a slice of a study's subspace, and the region where all of them do.

    What is left out is as in a recipe's landscapes.

    Example: deltaspace landscape runs/demo --task movies --point adapter --point lora
    """
    from deltaspace.landscape.region import DEFAULT_THRESHOLD, check_threshold
    from deltaspace.report.regions import region_rows, region_table
    from deltaspace.study import sample_landscape

    quiet()
    refuse_sweep(study)
    threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    check_threshold(threshold)
    points = tuple(point or ())
    if direction and len(points) != 1:
        raise DeltaspaceError(
            "a slice along directions has one point", found=", ".join(points) or "none", mend="--point NAME, once"
        )
    asked = {
        "task": task,
        "points": None if direction else points,
        "point": points[0] if direction else None,
        "directions": tuple(_direction(text) for text in direction or ()),
        "grid": grid,
        "split": split,
        "examples": examples,
        "tolerance": tolerance,
        "precision": precision,
        "dim": dim,
        "seed": seed,
        "name": name,
    }
    spec = _slice_spec({key: value for key, value in asked.items() if value is not None})
    with bars() as shown:
        made, sampled = sample_landscape(study, spec, observer=shown)
    if as_json:
        print_json([asdict(row) for row in region_rows({made: sampled}, threshold)])
        return
    print_tables([region_table(made, sampled, threshold)])
    hint(f"figures: deltaspace figure landscape {study} --landscape {made} -o {made}.png")


def figure(
    name: Annotated[str, typer.Argument(metavar="FIGURE", help="One of " + ", ".join(figure_names()) + ".")],
    study: StudyFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to (.png, .svg, .pdf).")],
    dim: Dim = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task (transfer, curves).")] = None,
    landscape: Annotated[str | None, typer.Option(help="Which landscape; the first by default (landscape, panels).")] = None,
    threshold: Annotated[float | None, typer.Option(help="In percent of each delta's best (landscape, panels).")] = None,
    loss: Annotated[bool, typer.Option("--loss", help="Losses in place of scores (panels).")] = False,
    width: Annotated[
        float | None,
        typer.Option(metavar="INCHES", help="How wide, in inches: 3.25 for a column of a paper; the height follows."),
    ] = None,
    no_title: Annotated[bool, typer.Option("--no-title", help="Without a title, for a paper with captions.")] = False,
) -> None:
    """One figure of a study, or of a sweep.

    Example: deltaspace figure landscape runs/demo --width 3.25 --no-title -o landscape.pdf
    """
    from deltaspace.figures import Options, check_format, draw, save_figure

    check_format(out)
    options = Options(
        dim=dim, seed=seed, task=task, landscape=landscape, quantity="loss" if loss else "score", width=width, title=not no_title
    )
    if threshold is not None:
        options = replace(options, threshold=threshold)
    print(f"figure: {save_figure(draw(name, study, options), out)}")


def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to; report/index.html in the study by default.")] = None,
) -> None:
    """Everything a study found on one page that opens in a browser without a server: tables, figures, its landscapes.

    Example: deltaspace report runs/demo
    """
    from deltaspace.report import write_report
    from deltaspace.study import read_history

    refuse_sweep(study)
    with bars() as shown:
        path = write_report(study, out, progress=shown.progress)
    try:
        read_history(study)
    except DeltaspaceError as error:
        print(f"left out: what ran where. {error}")
    print(f"report: {path}")


def _slice_spec(asked: dict[str, Any]) -> SliceSpec:
    from pydantic import ValidationError

    from deltaspace.mistakes import plainly
    from deltaspace.study import SliceSpec

    try:
        return SliceSpec.model_validate(asked)
    except ValidationError as error:
        raise DeltaspaceError(f"no such slice: {plainly(error)}", mend="deltaspace landscape --help") from None


def _direction(text: str) -> str | tuple[float, ...]:
    """A direction as a slice takes it: a name, or numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
