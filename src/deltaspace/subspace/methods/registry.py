"""All projection methods by name; each registers itself where it is defined."""

from __future__ import annotations

from typing import Any

from deltaspace.registry import Registry
from deltaspace.subspace.fitting import ProjectionMethod

PROJECTIONS: Registry[type[ProjectionMethod]] = Registry(
    "projection", ProjectionMethod, "deltaspace.projections", "deltaspace.subspace.methods"
)


def find_projection(name: str, **settings: Any) -> ProjectionMethod:
    """A projection method by its name.

    Raises:
        DeltaspaceError: there is no such method.
    """
    return PROJECTIONS.find(name)(**settings)
