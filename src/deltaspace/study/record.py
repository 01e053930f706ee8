"""What an artefact that is there says of itself, checked once against what its stage says.

One rule: whatever lies in a stage's folder and ends like an artefact is one, at the path that its key has. Anything else there is
damaged or does not belong: readers say so, a run makes it anew or sets it aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deltaspace.errors import DeltaspaceError
from deltaspace.names import check_name
from deltaspace.study.folder import FINGERPRINT, Folder, State
from deltaspace.study.scores import ScoreRow
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.typed import typed

Row = TypeVar("Row")


@dataclass(frozen=True)
class Record:
    """What an artefact says of itself.

    Args:
        path: where it is, relative to the study's folder.
        stage: the name of its stage.
        key: which of the stage's artefacts, its parts by name.
        fingerprint: of what it was made from.
        made_from: the artefacts among that: path -> fingerprint.
        row: its score, where it has one.
        curve: step, score and loss of each evaluation on dev, where it was trained.
        answers: input, reference and answer of a few test examples, where answers are written.
    """

    path: str
    stage: str
    key: dict[str, Any]
    fingerprint: str
    made_from: dict[str, str]
    row: ScoreRow | None = None
    curve: list[tuple[int, float, float]] | None = None
    answers: list[tuple[str, str, str]] | None = None


def read_record(folder: Folder, path: str) -> Record:
    """What the artefact at a path says; its tensors are not read.

    Raises:
        DeltaspaceError: it is missing or damaged, or does not belong there.
    """
    metadata = folder.metadata(path)
    try:
        return _record(STAGES.find(path.partition("/")[0]), path, metadata)
    except (ValueError, DeltaspaceError) as error:
        raise DeltaspaceError(
            f"{folder.path / path} is damaged, or does not belong there",
            found="; ".join(str(error).split("\n")),
            expected="an artefact of this version, as a run wrote it",
            mend="run the study again: what is damaged is made anew, what does not belong there is set aside",
        ) from None


def read_records(folder: Folder, stage: str) -> Iterator[Record]:
    """What each artefact of a stage that is there says, sorted by path.

    Raises:
        DeltaspaceError: as `read_record`.
    """
    return (read_record(folder, path) for path in folder.files(stage))


def current_records(folder: Folder, stage: str) -> list[Record]:
    """Those artefacts of a stage whose inputs are still those that are there: a run that was killed leaves others behind.

    Raises:
        DeltaspaceError: as `read_record`, of an artefact or of what it was made from.
    """
    states: dict[tuple[str, str], State] = {}

    def valid(part: str, fingerprint: str) -> bool:
        if (part, fingerprint) not in states:
            if (said := state(folder, part, fingerprint)) == "damaged":
                read_record(folder, part)  # raises: what is made from it must not go without a word
            states[part, fingerprint] = said
        return states[part, fingerprint] == "valid"

    return [record for record in read_records(folder, stage) if all(valid(*made) for made in record.made_from.items())]


def state(folder: Folder, path: str, fingerprint: str, *, tensors: bool = False) -> State:
    """Whether an artefact is there, is whole (its tensors too, if they are to be read), and of this fingerprint."""
    if not folder.has(path):
        return "missing"
    try:
        record = read_record(folder, path)
        if tensors and path.endswith(".safetensors"):
            folder.read(path)
    except DeltaspaceError:
        return "damaged"
    return "valid" if record.fingerprint == fingerprint else "stale"


def is_artefact(folder: Folder, path: str) -> bool:
    """Whether what lies at a path is an artefact that belongs there."""
    try:
        read_record(folder, path)
    except DeltaspaceError:
        return False
    return True


def check_row(stage: Stage[Any], key: Mapping[str, Any], row: ScoreRow | None) -> None:
    """See that a row is one of its artefact.

    Raises:
        ValueError: it is missing, or says something else than the artefact's key.
    """
    if row is None:
        if stage.scored:
            raise ValueError("it has no row of scores")
        return
    wanted = {"stage": stage.name, **ScoreRow.fields_among(key)}
    if wrong := [name for name, value in wanted.items() if getattr(row, name) != value]:
        raise ValueError(f"its row's {wrong[0]} is {getattr(row, wrong[0])!r}, where its key says {wanted[wrong[0]]!r}")


def _record(stage: Stage[Any], path: str, metadata: Mapping[str, Any]) -> Record:
    names = ("stage", "key", "fingerprint", "made_from")
    if missing := [name for name in names if name not in metadata]:
        raise ValueError(f"it does not say its {missing[0]}")
    said = {name: metadata[name] for name in (*names, "curve", "answers") if name in metadata}
    row = None if metadata.get("row") is None else typed(ScoreRow, metadata["row"])
    record = typed(Record, {"path": path, "row": None, **said})
    for fingerprint in (record.fingerprint, *record.made_from.values()):
        if FINGERPRINT.fullmatch(fingerprint) is None:
            raise ValueError(f"{fingerprint[:80]!r} is no fingerprint")
    for part in (part for made in record.made_from for part in made.rpartition(".")[0].split("/")):
        check_name("a part of a path", part)
    if record.stage != stage.name:
        raise ValueError(f"it is of the stage {record.stage!r}")
    if (belongs := stage.path_of(record.key)) != path:
        raise ValueError(f"its key belongs to {belongs}")
    check_row(stage, record.key, row)
    return Record(path, stage.name, record.key, record.fingerprint, record.made_from, row, record.curve, record.answers)


def row_of(kind: type[Row], folder: Folder, record: Record, said: object) -> Row:
    """A row that an artefact says beside its score, as a dataclass.

    Raises:
        DeltaspaceError: it says something else.
    """
    try:
        return typed(kind, said)
    except ValueError as error:
        raise damaged(folder, record, str(error), f"the fields of a {kind.__name__}") from None


def damaged(folder: Folder, record: Record, found: str, expected: str) -> DeltaspaceError:
    """The error of an artefact that says something else than it should."""
    return DeltaspaceError(
        f"{folder.path / record.path} is damaged",
        found=found,
        expected=expected,
        mend="delete it and run the study again: only this file is made anew; what was imported is imported again",
    )
