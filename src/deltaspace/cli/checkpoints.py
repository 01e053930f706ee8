"""Verbs that take solutions in and give tasks out as checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaspace.cli._options import Dim, Seed, check_new_export, refuse_sweep
from deltaspace.cli._subspaces import Chosen, choose, is_study, refuse_choice, subspace_of
from deltaspace.cli._terminal import bars, print_json, print_tables, quiet
from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted

if TYPE_CHECKING:
    from deltaspace.subspace import Subspace


def import_(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder; made if need be.")],
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER|HUB_ID|MANIFEST…", help="peft's checkpoints (safetensors), or JSON files that list them."),
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Of which task; once for each checkpoint, in their order. Without it: the folders' names."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="The recipe, where the study has none yet.")] = None,
    delta: Annotated[
        str | None, typer.Option(help="Which delta of the recipe they are; its only one of peft by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which seed of the recipe; its first by default.")] = None,
    initial_seed: Annotated[
        int | None,
        typer.Option(min=0, help="The seed that their initial values were drawn from (torch.manual_seed), where it is known."),
    ] = None,
    same_base: Annotated[bool, typer.Option("--same-base", help="Their model is the recipe's under another name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is kept of each as JSON.")] = False,
) -> None:
    """Take checkpoints of peft as solutions of a study's tasks, in place of training them; what is kept of each is told.

    Example: deltaspace import runs/zoo my-loras/* --recipe zoo.yaml
    """
    from deltaspace.report.kept import kept_table
    from deltaspace.study import import_checkpoints, load_recipe
    from deltaspace.study.kinds import refuse_other

    quiet()
    if task and (len(task) != len(checkpoints) or len(set(task)) != len(task)):
        raise DeltaspaceError(
            "each checkpoint is of one task",
            found=f"{counted(len(checkpoints), 'checkpoint')}, --task {', '.join(task)}",
            mend="one --task for each",
        )
    refuse_sweep(study)
    path = recipe or study / "recipe.yaml"
    if recipe is None and not path.exists():
        if study.is_file() or (study.is_dir() and any(study.iterdir())):
            refuse_other(study, "study")
        raise DeltaspaceError(
            f"{study} has no recipe yet", expected="a study's folder, or a new one with --recipe", mend="name it: --recipe RECIPE"
        )
    with bars() as observer:
        imports = import_checkpoints(
            load_recipe(path),
            study,
            dict(zip(task, checkpoints, strict=True)) if task else checkpoints,
            delta=delta,
            seed=seed,
            initial_seed=initial_seed,
            same_base=same_base,
            observer=observer,
        )
    kept = [imported.kept for imported in imports]
    if as_json:
        print_json([asdict(row) | {"whole": row.whole, "initial": imports[0].initial} for row in kept])
        return
    print_tables([kept_table(kept)])
    print(f"theta0 of {kept[0].delta}: {imports[0].initial}")
    print(f"kept whole: {sum(row.whole for row in kept)} of {len(kept)}")
    for row in (row for row in kept if not row.whole):
        print(f"not whole: {row.source} of {row.task}, {row}")


def export(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or one of an exported subspace.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to: a folder; or for a LoRA a file *.gguf, for llama.cpp.")],
    task: Annotated[str | None, typer.Option(help="Decode this task; without it the whole subspace is written.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Decode every task, each into a folder in --out; those there are left.")
    ] = False,
    delta: Annotated[str | None, typer.Option(help="As which delta.")] = None,
    through: Annotated[
        str | None,
        typer.Option(help="The vector found through this delta; by default through --delta itself, else the task's only one."),
    ] = None,
    dim: Dim = None,
    seed: Seed = None,
    as_delta: Annotated[
        str | None,
        typer.Option("--as", help="Convert it to this delta, as recipes write it ('lora: {r: 8}'), on --inputs, without labels."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="For --as: texts, one a line; JSON Lines with 'input'; or a task (folder, demo:NAME).")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Add the delta to the weights and write a plain model.")] = False,
    push: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Put it on the Hugging Face Hub too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --all: print where each is, and its error, as JSON.")] = False,
) -> None:
    """Write a task as a checkpoint of any delta, or all of them, or the subspace itself with all its vectors.

    With --as it is decoded as --delta, and then tuned on inputs, without labels, until the other delta computes the same.

    Example: deltaspace export runs/demo --task products --delta lora -o products-lora
    """
    from deltaspace.gguf_header import is_gguf
    from deltaspace.storage import push_to_hub

    quiet()
    if every:
        if is_gguf(out) or any(option is not None for option in (task, as_delta, inputs, push)) or merge:
            raise DeltaspaceError(
                "--all writes every task as a folder of its own",
                expected="--out FOLDER, with --delta, --through, --dim, --seed or --json beside it",
                mend="leave the other options out, or name one task: --task NAME",
            )
        _export_all(subspace_of(study, dim, seed), study, out, (delta, through), as_json)
        return
    check_new_export(out, "a subspace" if task is None else "a checkpoint", study)
    if is_gguf(out) and (task is None or merge or push is not None):
        raise DeltaspaceError(
            f"{out} is to be a file, of one LoRA",
            expected="--task NAME --delta LORA, without --merge and --push-to-hub",
            mend="add these, or name a folder",
        )
    if push is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", push) is None:
        raise DeltaspaceError(f"--push-to-hub {push}", expected="OWNER/NAME")
    if (as_delta is None) != (inputs is None) or (merge and as_delta is not None):
        raise DeltaspaceError(
            "--as and --inputs go together, and not with --merge", mend="--as 'lora: {r: 8}' --inputs FILE, or neither of them"
        )
    subspace = subspace_of(study, dim, seed)
    if task is not None and as_delta is not None and inputs is not None:
        _export_converted(choose(subspace, task, delta, through), as_delta, inputs, out)
    elif task is not None:
        _export_task(choose(subspace, task, delta, through), out, merge)
    elif delta or through or merge or as_delta:
        raise DeltaspaceError("--delta, --through, --as and --merge are for one task", mend="name it: --task NAME")
    else:
        from deltaspace.subspace.folder import save_subspace

        save_subspace(subspace, out)
        print(f"{out}: a subspace of {counted(subspace.dim, 'dimension')} with {counted(len(subspace.vectors), 'vector')}")
    if push is not None:
        print(f"pushed: {push_to_hub(out, push)}")


def info(
    source: Annotated[
        str, typer.Argument(metavar="STUDY|FOLDER|HUB_ID", help="A study, or a subspace's folder here or on the Hub.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    dim: Dim = None,
    seed: Seed = None,
) -> None:
    """What is in a subspace: its model, deltas, projections, source tasks and vectors.

    Example: deltaspace info runs/demo
    """
    from deltaspace.report.info import info_tables
    from deltaspace.subspace.folder import describe, read_description

    study = Path(source)
    refuse_sweep(study)
    if is_study(study):
        described = describe(subspace_of(study, dim, seed))
    else:
        refuse_choice(source, dim, seed)
        described = read_description(source)
    if as_json:
        print_json(described)
    else:
        print_tables(info_tables(described))


def _export_task(chosen: Chosen, out: Path, merge: bool) -> None:
    from deltaspace.checkpoints.export import export_delta

    attached, parameters = chosen.on_plm()
    export_delta(attached, parameters, out, merge=merge, provenance=chosen.provenance())
    print(f"{out}: {chosen.task} as {attached.name}, {chosen.origin}" + (", merged into the model" if merge else ""))


def _export_all(subspace: Subspace, study: Path, out: Path, through: tuple[str | None, str | None], as_json: bool) -> None:
    from deltaspace.backbone import load_backbone
    from deltaspace.checkpoints.compress import errors_of
    from deltaspace.checkpoints.export import export_each
    from deltaspace.report.kept import exported_table
    from deltaspace.storage import check_apart, check_export
    from deltaspace.subspace import SubspaceModel

    check_apart(out, study)

    asked, via = through
    delta = asked or (next(iter(subspace.entries)) if len(subspace.entries) == 1 else None)
    names = dict.fromkeys([*subspace.sources, *subspace.vectors.tasks])
    chosen = [choose(subspace, task, delta, via) for task in names]
    if not chosen:
        raise DeltaspaceError(f"{study} has no tasks", expected="source tasks, or vectors of tasks that were tuned in it")
    for each in chosen:
        check_export(out / each.task, "a checkpoint", study)
    plm, errors = subspace.plm, errors_of(subspace, chosen[0].delta)
    attached = SubspaceModel(subspace, load_backbone(plm.name, family=plm.family or None)).attached(chosen[0].delta)
    on_device = subspace.to(attached.backbone.device)
    tasks = (
        (
            each.task,
            on_device.decode(each.delta, on_device.vector(each.task, each.through)),
            each.provenance() | _lost(errors, each),
        )
        for each in chosen
    )
    rows = []
    with bars() as shown:
        for number, (each, (folder, now)) in enumerate(zip(chosen, export_each(attached, tasks, out), strict=True), 1):
            shown.progress(number, len(chosen), f"{folder}")
            error = errors.get(each.task) if each.of_code else None
            rows.append({"task": each.task, "delta": each.delta, "folder": str(folder), "written": now, "parameter_error": error})
    if as_json:
        print_json(rows)
        return
    print_tables([exported_table(rows)])
    print(f"{out}: {counted(sum(bool(row['written']) for row in rows), 'checkpoint')} written, {len(rows)} there")


def _lost(errors: Mapping[str, float], chosen: Chosen) -> dict[str, object]:
    """A row of a model card, where it is known what the space lost of a task's solution."""
    known = chosen.of_code and chosen.task in errors
    return {"parameter error": f"{errors[chosen.task]:.2%} of the displacement"} if known else {}


def _export_converted(chosen: Chosen, as_delta: str, inputs: str, out: Path) -> None:
    """Decode a task and turn what was decoded into another delta."""
    from deltaspace.checkpoints import CONVERT
    from deltaspace.checkpoints.conversion_card import told
    from deltaspace.checkpoints.conversion_inputs import conversion_inputs
    from deltaspace.checkpoints.converting import convert_to_folder
    from deltaspace.cli.conversion import parse_delta

    name, target = parse_delta(as_delta)
    read = conversion_inputs(inputs, CONVERT)
    source = chosen.on_plm()
    with bars() as shown:
        made = convert_to_folder(
            source,
            (name, target),
            read,
            out,
            settings=CONVERT,
            told=(f"{chosen.task} as {chosen.delta}", inputs),
            provenance=chosen.provenance(),
            progress=shown.progress,
        )
    print(f"{out}: {chosen.task} as {chosen.delta}, {chosen.origin}, converted to {name}")
    print(told(made.after))
