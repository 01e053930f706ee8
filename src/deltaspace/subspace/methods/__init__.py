"""Projection methods: how the maps of all deltas are made. One file a method."""

from deltaspace.subspace.methods.registry import PROJECTIONS, find_projection

__all__ = ["PROJECTIONS", "find_projection"]
