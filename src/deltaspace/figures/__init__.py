"""Figures by name: each is drawn from a study's folder by `draw`, or from its data by a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape.region import DEFAULT_THRESHOLD
from deltaspace.figures.curves import Curve, curves_figure
from deltaspace.figures.landscape import What, landscape_figure, panels_figure
from deltaspace.figures.scores import scores_figure
from deltaspace.figures.style import check_format, save_figure
from deltaspace.figures.sweep import sweep_figure
from deltaspace.figures.transfer import transfer_figure
from deltaspace.figures.vectors import cosines, map_figure, similarity_figure
from deltaspace.study.folder import read_any, rows
from deltaspace.study.landscapes import landscapes
from deltaspace.study.results import study_subspace
from deltaspace.study.sweep import is_sweep, sweep_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deltaspace.landscape import Landscape

__all__ = [
    "FIGURES",
    "Options",
    "check_format",
    "cosines",
    "curves_figure",
    "draw",
    "landscape_figure",
    "map_figure",
    "panels_figure",
    "save_figure",
    "scores_figure",
    "similarity_figure",
    "study_curves",
    "sweep_figure",
    "transfer_figure",
]


@dataclass(frozen=True)
class Options:
    """What can be chosen about a figure; each figure takes what concerns it.

    Args:
        dim: d, where a study has several.
        task: only this one.
        landscape: its name; the study's first by default.
        threshold: q, in percent of each delta's best.
        what: score or loss.
    """

    dim: int | None = None
    task: str | None = None
    landscape: str | None = None
    threshold: float = DEFAULT_THRESHOLD
    what: What = "score"


def _landscape(study: Path, options: Options) -> Landscape:
    found = landscapes(study)
    if not found:
        raise DeltaspaceError(f"{study} has no landscape yet", mend=f"deltaspace landscape {study} --task TASK")
    name = options.landscape or next(iter(found))
    if name not in found:
        raise DeltaspaceError(f"{study} has no landscape {name!r}", expected=", ".join(found))
    return found[name]


def _known(task: str | None, known: list[str]) -> str | None:
    if task is not None and task not in known:
        raise DeltaspaceError(f"no figure of the task {task!r}", expected=", ".join(dict.fromkeys(known)))
    return task


def _transfer(study: Path, options: Options) -> Figure:
    found = rows(study)
    tuned = [row["task"] for row in found if row["stage"] in ("optimized", "transferred")]
    return transfer_figure(found, options.dim, _known(options.task, tuned) if tuned else None)


def _curves(study: Path, options: Options) -> Figure:
    found = study_curves(study)
    return curves_figure(found, _known(options.task, [curve["task"] for curve in found]) if found else None)


# Without a sweep's, each is of a study.
FIGURES: dict[str, Callable[[Path, Options], Figure]] = {
    "scores": lambda study, options: scores_figure(rows(study), options.dim),
    "transfer": _transfer,
    "landscape": lambda study, options: landscape_figure(_landscape(study, options), options.threshold),
    "panels": lambda study, options: panels_figure(_landscape(study, options), options.what, options.threshold),
    "similarity": lambda study, options: similarity_figure(study_subspace(study, options.dim)),
    "map": lambda study, options: map_figure(study_subspace(study, options.dim)),
    "curves": _curves,
    "sweep": lambda study, options: sweep_figure(sweep_rows(study)),
}


def draw(name: str, study: Path, options: Options | None = None) -> Figure:
    """A figure of a study, or of a sweep.

    Args:
        name: one of `FIGURES`.
        study: its folder.
        options: what can be chosen.

    Raises:
        DeltaspaceError: there is no such figure, the folder is none of that kind, or what is to be drawn is not there yet.
    """
    if name not in FIGURES:
        raise DeltaspaceError(f"no figure {name!r}", expected=", ".join(FIGURES))
    if is_sweep(study) != (name == "sweep"):
        kind, other = ("sweep", "sweep") if is_sweep(study) else ("study", "scores, transfer, landscape …")
        raise DeltaspaceError(f"{study} has no figure {name!r}", found=f"a {kind}'s folder", expected=other)
    if name != "sweep":
        rows(study)  # says what is wrong where the folder is no study
    return FIGURES[name](study, options or Options())


def study_curves(study: Path) -> list[Curve]:
    """Every training of a study: stage, task, delta, seed, and the curve: (step, score, loss) on dev at each evaluation."""
    found = []
    for part in ("solutions", "vectors"):
        for path in sorted((study / part).rglob("[!.]*.safetensors")):
            own = read_any(path)
            if "curve" in own:
                found.append(
                    {**{key: own["row"][key] for key in ("stage", "task", "delta", "seed", "dim")}, "curve": own["curve"]}
                )
    return found
