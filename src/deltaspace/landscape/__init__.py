"""Landscapes: how well every delta does on a slice of the subspace, and the region where all of them do well."""

from deltaspace.landscape.landscape import Landscape, Mark
from deltaspace.landscape.region import Region, Share, regions
from deltaspace.landscape.sampling import Sampling, sample
from deltaspace.landscape.slice import Grid, Slice

__all__ = ["Grid", "Landscape", "Mark", "Region", "Sampling", "Share", "Slice", "regions", "sample"]
