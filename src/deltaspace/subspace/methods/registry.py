"""All projections by name."""

from __future__ import annotations

from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.methods.autoencoder import SeparateAutoencoders
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.methods.fastfood import Fastfood, Hadamard
from deltaspace.subspace.methods.gaussian import Gaussian
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.maps.mixture import Mixture
from deltaspace.subspace.maps.map import Decomposition, Projection
from deltaspace.subspace.methods.span import Span
from deltaspace.subspace.maps.stacked import Stacked
from deltaspace.subspace.methods.svd import Svd
from deltaspace.subspace.methods.trainable import Dense

PROJECTIONS: dict[str, type[Decomposition]] = {
    method.name: method for method in (DenseAutoencoder, Svd, Span, SeparateAutoencoders, Gaussian, Fastfood)
}
KINDS: dict[str, type[Projection]] = {kind.kind: kind for kind in (Dense, Linear, Hadamard, Mixture, Stacked)}


def find_projection(name: str, **settings: Any) -> Decomposition:
    """A projection by its name.

    Raises:
        DeltaspaceError: there is no such projection.
    """
    if name not in PROJECTIONS:
        raise DeltaspaceError(f"no projection {name!r}", expected=", ".join(PROJECTIONS))
    return PROJECTIONS[name](**settings)
