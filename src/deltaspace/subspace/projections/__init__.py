"""Projections: how a delta's displacements become d numbers and come back. One file a method."""

from deltaspace.subspace.projections.projection import Decomposition, Projection
from deltaspace.subspace.projections.registry import KINDS, PROJECTIONS, find_projection

__all__ = ["KINDS", "PROJECTIONS", "Decomposition", "Projection", "find_projection"]
