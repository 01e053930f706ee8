"""The verb that turns any tuned model into any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaspace.cli._options import Dim, Seed, check_new_export
from deltaspace.cli._subspaces import choose, is_study, subspace_of
from deltaspace.cli._terminal import bars, print_json, quiet
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from torch import Tensor

    from deltaspace.deltas import AttachedDelta, Delta


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="A checkpoint of peft or deltaspace, a fine-tuned model, or a Hub name; a study or subspace with --task.",
        ),
    ],
    to: Annotated[str, typer.Option("--to", help="The delta that is to compute the same, as recipes write it: 'lora: {r: 8}'.")],
    inputs: Annotated[
        str,
        typer.Option(
            help="Texts, one a line; JSON Lines with 'input', scored too where they have 'target'; or a task (folder, demo:NAME)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Write the checkpoint here: a folder; or for a LoRA a file *.gguf, for llama.cpp.")
    ],
    model: Annotated[
        str | None, typer.Option(help="The model that FROM was tuned on, where it does not say so, or under another name.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Of a study or subspace: this task.")] = None,
    delta: Annotated[str | None, typer.Option(help="Of a study or subspace: the task as this delta.")] = None,
    through: Annotated[str | None, typer.Option(help="Of a study or subspace: the vector found through this delta.")] = None,
    prompt: Annotated[str | None, typer.Option(help="How inputs are put to the model: '{input}'.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Largest number of steps.")] = None,
    lr: Annotated[float | None, typer.Option(min=1e-9, help="Peak learning rate.")] = None,
    same_base: Annotated[bool, typer.Option("--same-base", help="FROM's model is --model under another name.")] = False,
    dim: Dim = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Turn a tuned model into another delta that computes the same: tuned on inputs, without labels.

    Example: deltaspace convert my-prefix --to 'lora: {r: 8}' --inputs texts.txt -o my-lora
    """
    from pydantic import ValidationError

    from deltaspace.checkpoints import CONVERT
    from deltaspace.checkpoints.conversion_card import as_json as told_as_json
    from deltaspace.checkpoints.conversion_card import told
    from deltaspace.checkpoints.conversion_inputs import conversion_inputs
    from deltaspace.checkpoints.converting import convert_to_folder
    from deltaspace.mistakes import plainly
    from deltaspace.settings import changed

    quiet()
    check_new_export(out, "a checkpoint", source)
    name, target = parse_delta(to)
    try:
        settings = changed(CONVERT, steps=steps, lr=lr)
    except ValidationError as error:
        raise DeltaspaceError("no such conversion", found=plainly(error), mend="correct --steps or --lr") from None
    read = conversion_inputs(inputs, settings, prompt=prompt)
    tuned, origin = _source(source, model, same_base, (task, delta, through), (dim, seed))
    with bars() as shown:
        made = convert_to_folder(
            tuned, (name, target), read, out, settings=settings, told=(origin, inputs), prompt=prompt, progress=shown.progress
        )
    if as_json:
        print_json(told_as_json(made))
        return
    print(f"{out}: {origin} as {name}")
    print(f"at the start ({made.start}): {told(made.before)}")
    print(f"now: {told(made.after)}")
    if made.scores is not None:
        print(f"{made.metric}: {made.scores.target.value:.1f}, its source {made.scores.source.value:.1f}")


def parse_delta(text: str) -> tuple[str, Delta]:
    """A delta as an option says it, in YAML as recipes write it, with its name.

    Raises:
        DeltaspaceError: there is no such delta or setting.
    """
    from pydantic import ValidationError

    from deltaspace.mistakes import plainly
    from deltaspace.study.recipe import delta_of
    from deltaspace.study.yaml_text import NotYaml, parse_yaml

    expected = "a delta as recipes write it, such as lora, 'lora: {r: 8}' or '{peft: IA3}'"
    try:
        return delta_of(parse_yaml(text)[1])
    except NotYaml as error:
        raise DeltaspaceError(f"no delta {text!r}", found=str(error), expected=expected) from None
    except ValueError as error:
        told = plainly(error) if isinstance(error, ValidationError) else str(error)
        raise DeltaspaceError(f"no delta {text!r}", found=told, expected=expected) from None


def _source(
    name: str,
    model: str | None,
    same_base: bool,
    of_task: tuple[str | None, str | None, str | None],
    of_study: tuple[int | None, int | None],
) -> tuple[tuple[AttachedDelta, Tensor], str]:
    """What is converted, and what it is called."""
    from deltaspace.backbone import load_backbone
    from deltaspace.checkpoints import base_of, load_tuned

    task, delta, through = of_task
    folder = Path(name)
    if is_study(folder) or (folder / "subspace.safetensors").exists():
        subspace = subspace_of(folder, *of_study)
        if task is None:
            expected = ", ".join([*subspace.vectors.tasks, *subspace.sources][:10])
            raise DeltaspaceError(
                f"{name} is a subspace, of several tasks", mend="name one: --task TASK --delta DELTA", expected=expected
            )
        backbone = None if model is None else load_backbone(model, family=subspace.plm.family or None)
        return choose(subspace, task, delta, through).on_plm(backbone), f"{task} of {name}"
    if any(option is not None for option in (*of_task, *of_study)):
        raise DeltaspaceError(f"{name} is no subspace", mend="leave out --task, --delta, --through, --dim and --seed")
    backbone = load_backbone(model or base_of(name))
    return load_tuned(name, backbone, same_base=same_base), name
