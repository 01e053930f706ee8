"""The core: a subspace, the projection methods that find it, and the stages that work in it."""

from deltaspace.subspace.extend import Extension, extend_with_delta, extend_with_tasks
from deltaspace.subspace.fitting import Approximation, ProjectionMethod, Source
from deltaspace.subspace.folder import load_subspace, push_subspace, save_subspace
from deltaspace.subspace.maps import MAPS, Map
from deltaspace.subspace.methods import PROJECTIONS, find_projection
from deltaspace.subspace.serve import SubspaceModel
from deltaspace.subspace.stages.approximate import APPROXIMATE, approximate
from deltaspace.subspace.stages.optimize import OPTIMIZE, Optimization, Optimized, optimize
from deltaspace.subspace.stages.transfer import transfer
from deltaspace.subspace.stages.translate import TRANSLATE, Translated, Translation, translate
from deltaspace.subspace.subspace import Entry, Plm, Subspace
from deltaspace.subspace.vectors import Vectors

__all__ = [
    "APPROXIMATE",
    "MAPS",
    "OPTIMIZE",
    "PROJECTIONS",
    "TRANSLATE",
    "Approximation",
    "Entry",
    "Extension",
    "Map",
    "Optimization",
    "Optimized",
    "Plm",
    "ProjectionMethod",
    "Source",
    "Subspace",
    "SubspaceModel",
    "Translated",
    "Translation",
    "Vectors",
    "approximate",
    "extend_with_delta",
    "extend_with_tasks",
    "find_projection",
    "load_subspace",
    "optimize",
    "push_subspace",
    "save_subspace",
    "transfer",
    "translate",
]
