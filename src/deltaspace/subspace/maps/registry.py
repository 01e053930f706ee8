"""All kinds of maps by name; each registers itself where it is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deltaspace.registry import Registry

if TYPE_CHECKING:
    from deltaspace.subspace.maps.map import Map

MAPS: Registry[type[Map]] = Registry("map", "deltaspace.maps", "deltaspace.subspace.maps", named=lambda kind: kind.kind)
