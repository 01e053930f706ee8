"""All kinds of maps by name; each registers itself where it is defined."""

from __future__ import annotations

from deltaspace.registry import Registry
from deltaspace.subspace.maps.map import Map

MAPS: Registry[type[Map]] = Registry("map", Map, "deltaspace.maps", "deltaspace.subspace.maps", named=lambda kind: kind.kind)
