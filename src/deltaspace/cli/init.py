"""The verb that writes a first recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltaspace.cli._terminal import hint, quiet
from deltaspace.errors import DeltaspaceError


def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="demo, a folder, or a name on the Hugging Face Hub.")],
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASKS...", help="Source tasks: folders, files (.jsonl, .csv, .tsv), folders of folders, demo:NAME."
        ),
    ],
    unseen: Annotated[
        list[str] | None, typer.Option(help="A task to tune in the space, once for each; by default the last of TASKS.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
) -> None:
    """Write a first recipe, with comments, for a model and tasks that it looks at.

    Example: deltaspace init demo reviews.csv demo:tweets --unseen demo:movies -o recipe.yaml
    """
    from deltaspace.storage import what_is_at, write_text
    from deltaspace.study import check_recipe, draft_recipe, load_recipe

    present = what_is_at(out)
    if present is not None and not (force and present == "a file"):
        raise DeltaspaceError(
            f"cannot write {out}",
            found=f"{present} is there",
            mend="choose another path with -o, or say --force to write over it",
        )
    if what_is_at(out.parent, follow=True) != "a folder":
        raise DeltaspaceError(f"cannot write {out}", found=f"no folder {out.parent}", mend="make that folder first")
    quiet()
    write_text(out, draft_recipe(model, tasks, unseen or [], out.parent))
    check_recipe(load_recipe(out))
    print(f"{out}: a recipe that can be run")
    hint(f"read its comments\nnext: deltaspace run {out} --out runs/{out.stem}")
