"""Engines: what makes the artefacts of a study. One file an engine."""

from deltaspace.study.engines.engine import Engine
from deltaspace.study.engines.serial import Serial

__all__ = ["Engine", "Serial"]
