"""The application: its verbs in the order in which its help lists them, and how mistakes end."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from deltaspace.cli import checkpoints, results, studies, sweeps, translation
from deltaspace.errors import DeltaspaceError

app = typer.Typer(
    help="One low-dimensional space for every way of tuning a pre-trained language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
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
    error_console = Console(stderr=True)
    try:
        app(standalone_mode=True)
    except DeltaspaceError as error:
        error_console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        error_console.print("interrupted: finished work is kept; run the same command to go on", markup=False)
        sys.exit(130)
