"""What the figures of landscapes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaspace.figures._style import Look, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deltaspace.figures._options import Options
    from deltaspace.figures._results import Results
    from deltaspace.landscape import Landscape, Region


# Of the common region, in figures and in the report.
COMMON = "#8fa3ad"


@dataclass(frozen=True)
class Trust:
    """Where on a slice the deltas agree, so that what one does there tells what another does.

    Args:
        radii: of every cell, its distance from the source tasks' codes, shaped as the slice.
        within: up to this they agree (`deltaspace.study.disagreements.agreeing_radius`); None where they agree nowhere.
    """

    radii: np.ndarray
    within: float | None


def trust(results: Results, name: str) -> Trust | None:
    """Of a study's landscape; None where its subspace's disagreement was not measured."""
    from deltaspace.study.disagreements import agreeing_radius
    from deltaspace.subspace.codes import radius_of

    landscape, seed = results.landscape(name), results.landscape_seeds.get(name)
    dim = landscape.slice.dim
    # Of its own subspace: another seed's codes are other points, of another slice.
    rows = [row for row in results.disagreements if (row.dim, row.seed) == (dim, seed)]
    if not rows:
        return None
    codes = results.subspace(dim, seed).shared_codes().cpu()
    radii = radius_of(landscape.slice.points(), codes).reshape(landscape.slice.shape)
    return Trust(radii.numpy(), agreeing_radius(rows))


def has_landscape(results: Results, options: Options) -> bool:
    """Whether a study has a landscape."""
    return bool(results.landscapes)


def title(landscape: Landscape, region: Region) -> str:
    """What the common region is, with its interval."""
    common, union = region.shares["common"], region.shares["union"]
    return (
        f"{landscape.task}: every delta at {region.threshold:g} % of its best or more in {common.value:.1f} % of the slice\n"
        f"(95 % interval {common.low:.1f}–{common.high:.1f}; {union.value:.0f} % of the union; "
        f"{landscape.examples} {landscape.split} examples)"
    )


def inside_colors(count: int) -> list[str]:
    """The color of a cell by how many of `count` deltas have it inside their regions; of all of them, the common region's."""
    levels = [round(255 - 110 * (inside / count) ** 2) for inside in range(count)]
    return [*(f"#{level:02x}{level:02x}{level:02x}" for level in levels), COMMON]


def draw_border(axes: Axes, landscape: Landscape, inside: np.ndarray, **style: Any) -> None:
    """A line along the sides of the cells that are `inside`, (rows, columns): around what is counted, not smoothed."""
    if inside.all() or not inside.any():
        return
    x, y = (_sides(np.array(ticks)) for ticks in landscape.slice.ticks)
    axes.contour(x, y, inside.repeat(2, axis=0).repeat(2, axis=1).astype(float), [0.5], **style)


def _sides(ticks: np.ndarray) -> np.ndarray:
    """Two coordinates for each cell, just inside of its sides, between which a contour can only be the side."""
    half = (ticks[1] - ticks[0]) / 2 * (1 - 1e-3)
    return np.stack([ticks - half, ticks + half], axis=1).ravel()


def draw_lines(axes: Axes, landscape: Landscape, scores: np.ndarray, region: Region, delta_looks: Mapping[str, Look]) -> None:
    """Each delta's scores along a line, (deltas, cells), with the common region behind and the slice's points."""
    x = np.array(landscape.slice.ticks[0])
    edges = np.concatenate([x[:1], (x[:-1] + x[1:]) / 2, x[-1:]])
    for cell in np.flatnonzero(region.common):
        axes.axvspan(edges[cell], edges[cell + 1], color="0.9", linewidth=0)
    for delta, values in zip(landscape.deltas, scores, strict=True):
        look = delta_looks[delta]
        axes.plot(x, values, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3, label=delta)
    for name, (position,) in landscape.slice.marks.items():
        axes.axvline(position, color="0.5", linewidth=0.8)
        right = position > x.mean()
        axes.annotate(
            name,
            (position, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if right else 3, 4),
            ha="right" if right else "left",
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel(landscape.slice.labels[0])
    axes.set_ylabel(landscape.metric)
    axes.legend(frameon=False)
    plain(axes)
