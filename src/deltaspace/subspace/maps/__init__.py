"""Maps: what decodes an intrinsic vector into a delta's displacement, and encodes it. One file a kind."""

from deltaspace.subspace.maps.map import Map
from deltaspace.subspace.maps.registry import MAPS

__all__ = ["MAPS", "Map"]
