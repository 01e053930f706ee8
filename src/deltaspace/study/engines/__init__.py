"""Engines: what makes the artefacts of a study. One file an engine."""

from deltaspace.study.engines.engine import ENGINES, Engine
from deltaspace.study.engines.ray import Ray
from deltaspace.study.engines.serial import Serial
from deltaspace.study.engines.workers import Workers

__all__ = ["ENGINES", "Engine", "Ray", "Serial", "Workers"]
