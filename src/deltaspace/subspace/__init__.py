"""The core: the subspace and its projections; approximate, optimize, transfer."""

from deltaspace.subspace.stages.approximate import APPROXIMATE, Approximation, approximate
from deltaspace.subspace.extend import Extension
from deltaspace.subspace.stages.optimize import OPTIMIZE, Optimization, Optimized, optimize
from deltaspace.subspace.methods import PROJECTIONS, Decomposition, Projection, find_projection
from deltaspace.subspace.serve import SubspaceModel
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.stages.transfer import transfer
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
