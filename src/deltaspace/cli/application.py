"""The application: its verbs in the order in which its help lists them."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deltaspace.cli import checkpoints, compression, conversion, init, results, studies, sweeps, tasks, translation
from deltaspace.cli._common import common_options
from deltaspace.cli._terminal import broken_pipe


class _Verbs(TyperGroup):
    """Verbs whose output nobody may read to its end: `deltaspace show STUDY | head`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise SystemExit(broken_pipe()) from None


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
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


_WITHOUT_MODEL = (results.show, results.status, results.figure, results.report, tasks.tasks)
for verb in (
    studies.demo,
    init.init,
    studies.run,
    studies.train,
    studies.approximate,
    studies.optimize,
    studies.transfer,
    translation.translate,
    sweeps.sweep,
    results.show,
    results.status,
    results.landscape,
    results.figure,
    results.report,
    studies.check,
    tasks.tasks,
):
    app.command()(common_options(verb, device=verb not in _WITHOUT_MODEL))
app.command("import")(common_options(checkpoints.import_))
app.command()(common_options(checkpoints.export))
app.command()(common_options(compression.compress))
app.command()(common_options(conversion.convert))
app.command()(common_options(checkpoints.info, device=False))
