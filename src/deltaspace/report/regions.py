"""The common regions of landscapes as rows and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from deltaspace.landscape import Landscape, regions
from deltaspace.landscape.region import DEFAULT_THRESHOLD

_NAMES = {
    "union": "common region, of the union",
    "common": "common region",
    "largest": "its largest connected part",
}


@dataclass(frozen=True)
class RegionRow:
    """A region of a landscape and its share of the slice.

    Args:
        landscape: its name.
        threshold: q, in percent of each delta's best.
        region: the delta whose it is, or what is common to all.
        share: of the slice's cells, or of the union's, in percent.
        low, high: the ends of the share's 95 % interval.
        best: the delta's best score on the slice; None for what is common.
    """

    landscape: str
    threshold: float
    region: str
    share: float
    low: float
    high: float
    best: float | None


def region_rows(landscapes: Mapping[str, Landscape], threshold: float = DEFAULT_THRESHOLD) -> list[RegionRow]:
    """Of every landscape: the shares of each delta's region, of the common one, of its largest part and of the union.

    Raises:
        DeltaspaceError: a landscape is not finished, or the threshold is out of range.
    """
    rows = []
    for name, landscape in landscapes.items():
        [region] = regions(landscape, [threshold])
        for key, share in region.shares.items():
            label = _NAMES.get(key, key)
            rows.append(RegionRow(name, threshold, label, share.value, share.low, share.high, region.best.get(key)))
    return rows


def region_table(name: str, landscape: Landscape, threshold: float) -> Table:
    """The regions of a landscape: shares of the slice with their intervals."""
    sampled = f"{landscape.task}, {landscape.examples} {landscape.split} examples"
    about = f"{sampled}, regions at {threshold:g} % of each delta's best"
    table = Table(title=f"{name}\n{about}", title_justify="left", min_width=min(100, max(len(name), len(about))))
    for title in ("region", "best", "share of the slice", "95 % interval"):
        table.add_column(title, justify="left" if title == "region" else "right")
    for row in region_rows({name: landscape}, threshold):
        best = "" if row.best is None else f"{row.best:.1f}"
        table.add_row(row.region, best, f"{row.share:.1f} %", f"{row.low:.1f} – {row.high:.1f}")
    return table
