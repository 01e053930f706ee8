"""All projections by name."""

from __future__ import annotations

from typing import Any

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.projections.autoencoder import SeparateAutoencoders
from deltaspace.subspace.projections.dense import DenseAutoencoder
from deltaspace.subspace.projections.fastfood import Fastfood, Hadamard
from deltaspace.subspace.projections.gaussian import Gaussian
from deltaspace.subspace.projections.linear import Linear
from deltaspace.subspace.projections.mixture import Mixture
from deltaspace.subspace.projections.projection import Decomposition, Projection
from deltaspace.subspace.projections.span import Span
from deltaspace.subspace.projections.stacked import Stacked
from deltaspace.subspace.projections.svd import Svd
from deltaspace.subspace.projections.trainable import Dense

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
