"""The core: the subspace and its projections; approximate, optimize, transfer."""

from deltaspace.subspace.approximate import APPROXIMATE, Approximation, approximate
from deltaspace.subspace.optimize import OPTIMIZE, Optimization, Optimized, optimize
from deltaspace.subspace.projections import PROJECTIONS, Decomposition, Projection, find_projection
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.transfer import transfer

__all__ = [
    "APPROXIMATE",
    "OPTIMIZE",
    "PROJECTIONS",
    "Approximation",
    "Decomposition",
    "Optimization",
    "Optimized",
    "Projection",
    "Subspace",
    "approximate",
    "find_projection",
    "optimize",
    "transfer",
]
