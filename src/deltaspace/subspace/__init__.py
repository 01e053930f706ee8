"""The core: the subspace and its projections; approximate, optimize, transfer."""

from deltaspace.subspace.approximate import APPROXIMATE, Approximation, approximate
from deltaspace.subspace.extend import Extension
from deltaspace.subspace.optimize import OPTIMIZE, Optimization, Optimized, optimize
from deltaspace.subspace.projections import PROJECTIONS, Decomposition, Projection, find_projection
from deltaspace.subspace.serve import SubspaceModel
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.transfer import transfer
from deltaspace.subspace.vectors import Vectors

__all__ = [
    "APPROXIMATE",
    "OPTIMIZE",
    "PROJECTIONS",
    "Approximation",
    "Decomposition",
    "Extension",
    "Optimization",
    "Optimized",
    "Projection",
    "Subspace",
    "SubspaceModel",
    "Vectors",
    "approximate",
    "find_projection",
    "optimize",
    "transfer",
]
