"""The application: its verbs in the order in which its help lists them, and how mistakes end."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from deltaspace.cli import checkpoints, results, studies, sweeps, translation
from deltaspace.cli._terminal import console
from deltaspace.errors import DeltaspaceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> bool:
    if asked:
        print(f"deltaspace {version_of('deltaspace')}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """One low-dimensional space for every way of tuning a pre-trained language model."""


for verb in (
    studies.demo,
    studies.run,
    studies.train,
    studies.approximate,
    studies.optimize,
    studies.transfer,
    translation.translate,
    sweeps.sweep,
    results.show,
    results.landscape,
    results.figure,
    results.report,
    studies.check,
):
    app.command()(verb)
app.command("import")(checkpoints.import_)
app.command()(checkpoints.export)
app.command()(checkpoints.info)


def main() -> None:
    """Run the command line; a user's mistake ends with one message and exit code 2."""
    error_console = console(stderr=True)
    try:
        app(standalone_mode=True)
    except DeltaspaceError as error:
        error_console.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        error_console.print("interrupted: finished work is kept; run the same command to go on")
        sys.exit(130)
