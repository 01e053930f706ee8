"""The command line. Nothing heavy is imported before a command needs it: `deltaspace --help` is instant."""

from typing import Any

from deltaspace.cli.entry import main

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deltaspace.cli.application import app

    return app
