"""What a study holds, read without its recipe's model and tasks: scores, curves, subspaces, landscapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Landscape
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.kept import read_kept
from deltaspace.study.record import Record, current_records, read_record, read_records
from deltaspace.study.scores import ScoreRow, measured
from deltaspace.study.stage import STAGES, ordered_stages
from deltaspace.study.stages.landscapes import LANDSCAPES
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.subspace import SUBSPACE
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


@dataclass(frozen=True)
class Answer:
    """What a delta wrote for one test example.

    Args:
        stage, task, delta, seed, source_delta, dim: as in `ScoreRow`.
        input: the example's.
        reference: its target.
        text: what was written.
    """

    stage: str
    task: str
    delta: str
    seed: int
    source_delta: str | None
    dim: int | None
    input: str
    reference: str
    text: str


def read_scores(study: Path | str) -> list[ScoreRow]:
    """Every score of a study, with relative performance and recovered gain where the scores they need are there.

    Scores of what was made from other artefacts than those that are there now are left out (`outdated`).

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    stages = [stage.name for stage in ordered_stages()]
    rows = [row for row, _ in _scored(study)]

    def order(row: ScoreRow) -> tuple[int, int, str, str, str, str, int]:
        return row.dim or 0, stages.index(row.stage), row.rival or "", row.task, row.source_delta or "", row.delta, row.seed

    return sorted(measured(rows), key=order)


def read_curves(study: Path | str) -> list[Curve]:
    """Every training of a study whose artefact has a score, as `read_scores` has it.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    return [
        Curve(row.stage, row.task, row.delta, row.seed, row.dim, record.curve)
        for row, record in _scored(study)
        if record.curve is not None
    ]


def read_answers(study: Path | str) -> list[Answer]:
    """A few written answers of every artefact that has any, as `read_scores` has its score.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    return [
        Answer(row.stage, row.task, row.delta, row.seed, row.source_delta, row.dim, *answer)
        for row, record in _scored(study)
        for answer in record.answers or ()
    ]


def _scored(study: Path | str) -> list[tuple[ScoreRow, Record]]:
    """Every artefact of a study that has a score and is not outdated, stage by stage."""
    folder = _study(study)
    records = [record for stage in ordered_stages() for record in current_records(folder, stage.name)]
    return [(record.row, record) for record in records if record.row is not None]


def read_landscapes(study: Path | str) -> dict[str, Landscape]:
    """The landscapes of a study by name, planes before lines; those whose vectors have been tuned anew since are left out.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    folder = _study(study)
    current = current_records(folder, LANDSCAPES.name)
    landscapes = {record.key["name"]: Landscape.load(folder.path / record.path) for record in current}
    return dict(sorted(landscapes.items(), key=lambda pair: -len(pair[1].slice.shape)))


def read_landscape_seeds(study: Path | str) -> dict[str, int]:
    """The seed of the subspace that each landscape of a study was sampled in, by the landscape's name.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    folder = _study(study)
    return {
        record.key["name"]: read_record(folder, path).key["seed"]
        for record in current_records(folder, LANDSCAPES.name)
        for path in record.made_from
        if path.startswith(f"{SUBSPACE.name}/")
    }


def read_subspace(study: Path | str, dim: int | None = None, seed: int | None = None) -> Subspace:
    """The subspace of a study, with every vector that was tuned in it.

    Args:
        study: its folder.
        dim: which d; the only one by default.
        seed: which seed; the first by default.

    Raises:
        DeltaspaceError: the study has no subspace yet, or several and none was chosen.
    """
    folder = _study(study)
    keys = {(record.key["dim"], record.key["seed"]): record.path for record in read_records(folder, SUBSPACE.name)}
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
    subspace = Subspace.load(folder.path / keys[chosen])
    for record in current_records(folder, OPTIMIZED.name):
        key = record.key
        if (key["dim"], key["seed"]) == chosen:
            subspace.vectors.add(key["task"], key["delta"], folder.read(record.path)[0]["vector"])
    subspace.kept = tuple(row for row in read_kept(study) if row.dim in (None, chosen[0]) and row.seed == chosen[1])
    return subspace


def outdated(study: Path | str) -> list[str]:
    """The paths of artefacts that were made from others than those that are there now, as after a run that was killed.

    Raises:
        DeltaspaceError: as `read_scores`.
    """
    folder = _study(study)
    records = [record for stage in STAGES for record in read_records(folder, stage)]
    there = {record.path: record.fingerprint for record in records}
    return [r.path for r in records if any(there.get(path) != fingerprint for path, fingerprint in r.made_from.items())]


def _study(path: Path | str) -> Folder:
    """The folder of a study that this version can read.

    Raises:
        DeltaspaceError: it is not a study, or all that was computed there lies where an earlier version had it.
    """
    folder = Folder(path)
    folder.check()
    if not any(folder.has_artefacts(stage) for stage in STAGES) and (earlier := [*folder.strangers(STAGES)]):
        raise DeltaspaceError(
            f"{path} was written by an earlier deltaspace, whose files lie elsewhere",
            found=", ".join(f"{name}/" for name in earlier),
            expected="one of " + ", ".join(f"{stage}/" for stage in STAGES),
            mend=f"run it again: deltaspace run {folder.path / RECIPE} --out {path}",
        )
    return folder
