"""The verb that shows and fetches a recipe's tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaspace.cli._options import RecipeFile
from deltaspace.cli._terminal import print_json, print_tables, quiet
from deltaspace.names import counted

if TYPE_CHECKING:
    from rich.table import Table

    from deltaspace.study import Recipe
    from deltaspace.tasks import Task

# Of a text in a preview.
_SHOWN = 200


def tasks(
    recipe: RecipeFile,
    preview: Annotated[int, typer.Option(min=0, help="Show so many training examples of each task too.")] = 0,
    fetch: Annotated[
        Path | None,
        typer.Option(help="Write the tasks into this folder, once, with a recipe.yaml that reads them there, without a network."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List a recipe's tasks, preview their examples, fetch them from the Hub into a folder.

    Example: deltaspace tasks recipes/hub/multitask.yaml --fetch tasks
    """
    from deltaspace.study import fetch_tasks, load_recipe
    from deltaspace.study.resources import load_tasks

    quiet()
    loaded = load_recipe(recipe)
    fetched = False
    if fetch is None:
        listed = list(load_tasks(loaded).values())
    else:
        listed, fetched = fetch_tasks(loaded, fetch)
    if as_json:
        print_json([_said(task, loaded, preview) for task in listed])
        return
    print_tables([_table(listed, loaded)])
    for task in listed if preview else []:
        print(f"\n{task.name}")
        for example in task.train[:preview]:
            options = f"   [{' | '.join(example.options)}]" if example.options else ""
            print(f"  {_cut(example.input)}\n    -> {_cut(example.target)}{_cut(options)}")
    if fetch is not None:
        done = (
            f"{counted(len(listed), 'task')} written to {fetch}"
            if fetched
            else f"{fetch} has these tasks already, and they are whole"
        )
        print(f"{done}\nnext: deltaspace run {fetch / 'recipe.yaml'} --out runs/{recipe.stem}")


def _table(listed: list[Task], recipe: Recipe) -> Table:
    from rich.table import Table

    table = Table(title="Tasks")
    for heading in ("task", "role", "kind", "labels", "metric"):
        table.add_column(heading, overflow="fold")
    for heading in ("train", "dev", "test"):
        table.add_column(heading, justify="right")
    table.add_column("from", overflow="fold")
    for task in listed:
        sizes = [str(len(task.split(split))) for split in ("train", "dev", "test")]
        table.add_row(task.name, _role(task, recipe), task.kind, ", ".join(task.labels), task.metric, *sizes, task.source)
    return table


def _said(task: Task, recipe: Recipe, preview: int) -> dict[str, Any]:
    sizes = {split: len(task.split(split)) for split in ("train", "dev", "test")}
    said = {"name": task.name, "role": _role(task, recipe), "kind": task.kind, "labels": task.labels, "metric": task.metric}
    examples = [
        {"input": example.input, "target": example.target, "options": list(example.options) if example.options else None}
        for example in task.train[:preview]
    ]
    return {**said, "sizes": sizes, "from": task.source, "fingerprint": task.fingerprint} | (
        {"examples": examples} if preview else {}
    )


def _role(task: Task, recipe: Recipe) -> str:
    return "source" if task.name in recipe.source_tasks else "unseen"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
