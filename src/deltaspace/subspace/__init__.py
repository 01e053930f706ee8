"""The core: the subspace and its projections; approximate, optimize, transfer."""

from deltaspace.subspace.approximate import APPROXIMATE, approximate
from deltaspace.subspace.optimize import OPTIMIZE, Optimized, optimize
from deltaspace.subspace.projection import Dense, initial_projections
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.transfer import transfer

__all__ = [
    "APPROXIMATE",
    "OPTIMIZE",
    "Dense",
    "Optimized",
    "Subspace",
    "approximate",
    "initial_projections",
    "optimize",
    "transfer",
]
