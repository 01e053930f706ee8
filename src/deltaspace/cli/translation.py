"""The verb that brings a vector from the delta that it was tuned through to another, without labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deltaspace.cli._options import Dim, Seed, check_new_export
from deltaspace.cli._terminal import bars, print_json, quiet


def translate(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study whose vectors are tuned.")],
    task: Annotated[str, typer.Option(help="An unseen task of it.")],
    source: Annotated[str, typer.Option("--from", help="The delta that the vector was tuned through.")],
    delta: Annotated[str, typer.Option("--to", help="The delta that is to compute the same.")],
    inputs: Annotated[
        Path | None,
        typer.Option(help="Texts, one a line, or JSON Lines with 'input'; the task's training inputs by default."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the delta as a checkpoint here.")] = None,
    dim: Dim = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Tune a vector, without labels, until another delta answers as the delta does that it was tuned through.

    Example: deltaspace translate runs/demo --task products --from lora --to prefix -o products-prefix
    """
    from deltaspace.checkpoints.export import export_delta
    from deltaspace.study.translation import translate_in_study
    from deltaspace.tasks import read_inputs

    quiet()
    if out is not None:
        check_new_export(out, "a checkpoint", study)
    texts = None if inputs is None else read_inputs(inputs)
    # Without -o nothing is written at all, so that a killed one begins anew.
    state = None if out is None else out.parent / f".{out.name}.translating.safetensors"
    with bars() as shown:
        made = translate_in_study(
            study, task, source, delta, inputs=texts, dim=dim, seed=seed, state=state, progress=shown.progress
        )
    moved = made.translated
    if out is not None:
        provenance = {
            "task": task,
            "vector found through": source,
            "translated": f"on {'its training inputs' if inputs is None else inputs.name}, without labels",
            "d": made.subspace.dim,
            "seed": made.subspace.seed,
        }
        export_delta(made.target, made.subspace.decode(delta, moved.vector), out, provenance=provenance)
    if state is not None:
        state.unlink(missing_ok=True)
    if as_json:
        scores = {"metric": made.metric, "transferred": asdict(made.transferred), "translated": asdict(made.score)}
        missed = {"before": moved.before, "after": moved.after, "steps": moved.fit.best_step}
        print_json({"task": task, "from": source, "to": delta, "start": moved.start, "missed": missed, **scores})
        return
    print(f"{delta} misses {moved.before:.0%} of what {source} changes before, {moved.after:.0%} after (held-out inputs)")
    if moved.start != "transferred":
        print("it began at the mean of the source tasks' codes; from the vector as it is, more is missed")
    print(f"{made.metric} on test: {made.transferred.value:.1f} transferred, {made.score.value:.1f} translated")
    if out is not None:
        print(f"{out}: {task} as {delta}")
