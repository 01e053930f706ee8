"""The verb that makes many checkpoints small."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from deltaspace.cli._terminal import bars, print_json, print_tables, quiet
from deltaspace.names import counted


def compress(
    checkpoints: Annotated[
        list[str], typer.Argument(metavar="FOLDER|HUB_ID…", help="peft's checkpoints (safetensors) of one method and shape.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the subspace here.")],
    dim: Annotated[int, typer.Option(min=1, help="d, directions of all tensors together: numbers for each checkpoint.")],
    model: Annotated[str | None, typer.Option(help="Their model, where they do not say it, or under another name.")] = None,
    initial_seed: Annotated[
        int | None,
        typer.Option(min=0, help="The seed that their initial values were drawn from (torch.manual_seed), where it is known."),
    ] = None,
    same_base: Annotated[bool, typer.Option("--same-base", help="Their model is --model under another name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is lost of each as JSON.")] = False,
) -> None:
    """Keep many checkpoints of peft as one subspace, for storage: no tasks, no training; what is lost of each is told.

    Example: deltaspace compress my-loras/* -o zoo --dim 500
    """
    from deltaspace.backbone import load_backbone
    from deltaspace.checkpoints import base_of
    from deltaspace.checkpoints.compress import compress as compress_checkpoints
    from deltaspace.checkpoints.compress import size_of
    from deltaspace.report.kept import compressed_table

    quiet()
    backbone = load_backbone(model or base_of(checkpoints[0]))
    with bars() as shown:
        rows = compress_checkpoints(
            checkpoints, backbone, out, dim=dim, initial_seed=initial_seed, same_base=same_base, told=shown.progress
        )
    before, after = sum(size_of(row.source) for row in rows), size_of(out)
    if as_json:
        print_json({"checkpoints": [asdict(row) for row in rows], "bytes_before": before, "bytes": after})
        return
    print_tables([compressed_table(rows)])
    errors = [row.parameter_error for row in rows]
    print(f"{out}: {counted(len(rows), 'checkpoint')} in {counted(dim, 'dimension')}, error {fmean(errors):.1%} on average")
    print(f"{before / 1e6:,.2f} MB before, {after / 1e6:,.2f} MB now; nothing was deleted")
    print(f"all of them again: deltaspace export {out} --all -o FOLDER")
