"""What a study holds, read without its recipe's model and tasks: scores, curves, subspaces, landscapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Landscape
from deltaspace.storage import read_tensors
from deltaspace.study.folder import Folder
from deltaspace.study.graph import ordered_stages
from deltaspace.study.scores import ScoreRow, measured
from deltaspace.subspace import Subspace


@dataclass(frozen=True)
class Curve:
    """The evaluations on dev of one training.

    Args:
        stage, task, delta, seed, dim: as in `ScoreRow`.
        points: step, score and loss of each evaluation.
    """

    stage: str
    task: str
    delta: str
    seed: int
    dim: int | None
    points: list[tuple[int, float, float]]


def read_scores(study: Path) -> list[ScoreRow]:
    """Every score of a study, with relative performance and recovered gain where the scores they need are there.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    folder = Folder(study)
    folder.check()
    stages = [stage.name for stage in ordered_stages()]
    rows = [row for stage in stages for path in folder.files(stage) if (row := _row(folder, path)) is not None]

    def order(row: ScoreRow) -> tuple[int, int, str, str, str, str, int]:
        return row.dim or 0, stages.index(row.stage), row.rival or "", row.task, row.source_delta or "", row.delta, row.seed

    return sorted(measured(rows), key=order)


def _row(folder: Folder, path: str) -> ScoreRow | None:
    stored = folder.metadata(path).get("row")
    if stored is None:
        return None
    try:
        return ScoreRow.of(stored)
    except TypeError as error:
        raise DeltaspaceError(
            f"{folder.path / path} is damaged",
            found=str(error),
            expected="the fields of a score",
            mend="delete it and run the study again: only this file is made anew",
        ) from None


def read_curves(study: Path) -> list[Curve]:
    """Every training of a study whose artefact has a score.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    folder = Folder(study)
    folder.check()
    curves = []
    for stage in ordered_stages():
        for path in folder.files(stage.name):
            points, row = folder.metadata(path).get("curve"), _row(folder, path)
            if points is not None and row is not None:
                listed = [(int(step), float(score), float(loss)) for step, score, loss in points]
                curves.append(Curve(row.stage, row.task, row.delta, row.seed, row.dim, listed))
    return curves


def read_landscapes(study: Path) -> dict[str, Landscape]:
    """The landscapes of a study by name, planes before lines; those whose vectors have been tuned anew since are left out.

    Raises:
        DeltaspaceError: a file is damaged.
    """
    folder = Folder(study)
    paths = [path for path in folder.files("landscapes") if folder.current(path)]
    landscapes = {Path(path).stem: Landscape.load(study / path) for path in paths}
    return dict(sorted(landscapes.items(), key=lambda pair: -len(pair[1].slice.shape)))


def read_subspace(study: Path, dim: int | None = None, seed: int | None = None) -> Subspace:
    """The subspace of a study, with every vector that was tuned in it.

    Args:
        study: its folder.
        dim: which d; the only one by default.
        seed: which seed; the first by default.

    Raises:
        DeltaspaceError: the study has no subspace yet, or several and none was chosen.
    """
    folder = Folder(study)
    keys = {}
    for path in folder.files("subspace"):
        key = folder.metadata(path)["key"]
        keys[key["dim"], key["seed"]] = path
    if not keys:
        raise DeltaspaceError(f"{study} has no subspace yet", mend=f"deltaspace approximate RECIPE --out {study}")
    dims, seeds = sorted({key[0] for key in keys}), sorted({key[1] for key in keys})
    if dim is None and len(dims) > 1:
        raise DeltaspaceError(
            f"{study} has several subspaces", found="d = " + ", ".join(map(str, dims)), mend="choose one: --dim"
        )
    chosen = (dims[0] if dim is None else dim, seeds[0] if seed is None else seed)
    if chosen not in keys:
        listed = ", ".join(f"d = {known[0]} with seed {known[1]}" for known in sorted(keys))
        raise DeltaspaceError(f"{study} has no subspace with d = {chosen[0]} and seed {chosen[1]}", expected=listed)
    subspace = Subspace.load(study / keys[chosen])
    for path in folder.files("optimized"):
        key = folder.metadata(path)["key"]
        if (key["dim"], key["seed"]) == chosen:
            subspace.vectors.add(key["task"], key["delta"], read_tensors(study / path)[0]["vector"])
    return subspace
