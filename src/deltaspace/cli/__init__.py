"""The command line. Nothing heavy is imported before a command needs it: `deltaspace --help` is instant."""

from deltaspace.cli.application import app, main

__all__ = ["app", "main"]
