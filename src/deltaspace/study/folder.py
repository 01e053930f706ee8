"""The folder of a study: artefacts that carry the fingerprint of what they were made from, and one row of scores each."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, read_metadata, write_copy

Stage = Literal["zero_shot", "independent", "optimized", "transferred", "rival"]
State = Literal["valid", "missing", "stale", "damaged"]
Row = dict[str, Any]
_SUPERSEDED = "superseded"
# Folders whose files have rows of scores.
_PARTS = ("solutions", "vectors", "rivals", "scores")


@dataclass(frozen=True)
class Artefact:
    """One file of a study.

    Args:
        path: relative to the study's folder.
        fingerprint: SHA-256 of everything it is made from.
        make: writes it to the path that it is given, with the fingerprint.
    """

    path: str
    fingerprint: str
    make: Callable[[Path], None]


class Folder:
    """A study's folder.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self, artefact: Artefact) -> State:
        """Whether the artefact is there and was made from what its fingerprint says."""
        path = self.path / artefact.path
        if not path.exists():
            return "missing"
        try:
            found = read_any(path).get("fingerprint")
        except DeltaspaceError:
            return "damaged"
        return "valid" if found == artefact.fingerprint else "stale"

    def checkpoint(self, artefact: Artefact) -> Path:
        """Where the artefact's training keeps its state while it runs."""
        return self.path / ".running" / (artefact.path.replace("/", "-") + ".safetensors")

    def set_aside(self, artefact: Artefact) -> None:
        """Keep a stale artefact under `superseded/`, so that nothing computed is lost."""
        path = self.path / artefact.path
        target = self._superseded(artefact.path, read_any(path).get("fingerprint", "unknown"))
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    def restore(self, artefact: Artefact) -> bool:
        """Bring back an artefact that was set aside, if it is the one that is wanted now."""
        kept = self._superseded(artefact.path, artefact.fingerprint)
        if not kept.exists():
            return False
        kept.replace(self.path / artefact.path)
        return self.state(artefact) == "valid"

    def take(self, other: Folder, paths: Iterable[str]) -> None:
        """Have another study's artefacts in place of one's own: the same files, as artefacts are never changed in place."""
        for path in paths:
            target = self.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(other.path / path)
            except OSError:  # a file system without links
                write_copy(other.path / path, target)

    def _superseded(self, path: str, fingerprint: str) -> Path:
        name = Path(path)
        return self.path / _SUPERSEDED / name.with_name(f"{name.stem}.{fingerprint[:12]}{name.suffix}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run.

        Raises:
            DeltaspaceError: another run holds it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise DeltaspaceError(f"study {self.path} cannot be written", found=str(error), mend="choose another --out") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DeltaspaceError(
                    f"study {self.path} is being run by another process", mend="wait for it, or choose another --out"
                ) from None
            yield


def read_any(path: Path) -> dict[str, Any]:
    """The metadata of an artefact: of a safetensors file, or a JSON file itself."""
    found = read_metadata(path) if path.suffix == ".safetensors" else read_json(path)
    if not isinstance(found, dict):
        raise DeltaspaceError(f"{path} is damaged", found=type(found).__name__, expected="a JSON object")
    return found


def rows(folder: Path) -> list[Row]:
    """Every score of a study, with relative performance and recovered gain where the scores they need are there.

    Relative performance is 100 * score / independent, the paper's measure; recovered gain is
    100 * (score - zero_shot) / (independent - zero_shot). Neither is clipped; each is None where its divisor is 0.

    Raises:
        DeltaspaceError: the folder is no study, or a file of it is damaged.
    """
    if not (folder / "recipe.yaml").exists():
        raise DeltaspaceError(
            f"{folder} is not a study",
            found="no recipe.yaml in it" if folder.is_dir() else "no such folder",
            expected="the folder given to 'deltaspace run --out'",
        )
    paths = [p for part in _PARTS for p in sorted((folder / part).rglob("*")) if _is_artefact(p)]
    # Studies made before there were rivals lack these two.
    older = {"rival": None, "tuned": None}
    found = [{**older, **row} for path in paths if (row := read_any(path).get("row")) is not None]
    reference = {(r["stage"], r["task"], r["delta"], r["seed"]): r["score"] for r in found}
    for row in found:
        key = (row["task"], row["delta"], row["seed"])
        row["relative"], row["recovered"] = measures(
            row["score"], reference.get(("independent", *key)), reference.get(("zero_shot", *key))
        )
    order = ("zero_shot", "independent", "optimized", "transferred", "rival")
    return sorted(
        found, key=lambda r: (r["dim"] or 0, order.index(r["stage"]), r["task"], r["source_delta"] or "", r["delta"], r["seed"])
    )


def _is_artefact(path: Path) -> bool:
    return path.suffix in (".safetensors", ".json") and not path.name.startswith(".")


def measures(score: float, independent: float | None, zero_shot: float | None) -> tuple[float | None, float | None]:
    """Relative performance and recovered gain, in percent."""
    relative = 100 * score / independent if independent else None
    gain = None if independent is None or zero_shot is None else independent - zero_shot
    return relative, 100 * (score - zero_shot) / gain if gain and zero_shot is not None else None
