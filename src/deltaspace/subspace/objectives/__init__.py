"""What stage 1 trains projections for. One file a term."""

from deltaspace.subspace.objectives.objective import Objective

__all__ = ["Objective"]
