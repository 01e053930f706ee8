"""The folder of a study: artefacts that carry the fingerprint of what they were made from."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, read_metadata, read_tensors, write_copy, write_json, write_tensors

State = Literal["valid", "missing", "stale", "damaged"]
RECIPE = "recipe.yaml"
# In the folder of a parameter sweep: its points.
SWEEP = "sweep.yaml"
_SUPERSEDED = "superseded"


class Folder:
    """A study's folder. Paths of artefacts are relative to it.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self, path: str, fingerprint: str) -> State:
        """Whether an artefact is there and was made from what the fingerprint says."""
        if not (self.path / path).exists():
            return "missing"
        try:
            written = self.metadata(path).get("fingerprint")
        except DeltaspaceError:
            return "damaged"
        return "valid" if written == fingerprint else "stale"

    def metadata(self, path: str) -> dict[str, Any]:
        """An artefact's metadata; its tensors are not read.

        Raises:
            DeltaspaceError: it is missing or damaged.
        """
        return read_artefact_metadata(self.path / path)

    def read(self, path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """An artefact's tensors and metadata.

        Raises:
            DeltaspaceError: it is missing or damaged.
        """
        return read_tensors(self.path / path)

    def write(self, path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write an artefact atomically: a safetensors file, or JSON where it has no tensors."""
        if path.endswith(".json"):
            write_json(self.path / path, dict(metadata))
        else:
            write_tensors(self.path / path, dict(tensors), dict(metadata))

    def files(self, stage: str) -> Iterator[str]:
        """The paths of all artefacts of a stage that are there, sorted."""
        for path in sorted((self.path / stage).rglob("*")):
            if path.suffix in (".safetensors", ".json") and not path.name.startswith(".") and path.is_file():
                yield path.relative_to(self.path).as_posix()

    def current(self, path: str) -> bool:
        """Whether the artefacts that this one was made from are still those that are there."""
        made_from: dict[str, str] = self.metadata(path)["made_from"]
        return all(self.state(part, fingerprint) == "valid" for part, fingerprint in made_from.items())

    def resume_state(self, path: str) -> Path:
        """Where the computation of an artefact keeps its state while it runs."""
        return self.path / ".running" / f"{path}.safetensors"

    def set_aside(self, path: str) -> None:
        """Keep an artefact that the recipe no longer asks for under `superseded/`, so that nothing computed is lost."""
        target = self._superseded(path, self.metadata(path).get("fingerprint", "unknown"))
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).replace(target)

    def restore(self, path: str, fingerprint: str) -> bool:
        """Bring back an artefact that was set aside, if it is the one that is wanted now."""
        kept = self._superseded(path, fingerprint)
        if not kept.exists():
            return False
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        kept.replace(self.path / path)
        return self.state(path, fingerprint) == "valid"

    def take(self, other: Folder, paths: Iterable[str]) -> None:
        """Have another study's artefacts in place of this one's: the same files, as artefacts are never changed in place."""
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

    def check(self) -> None:
        """Raise DeltaspaceError unless the folder is a study's."""
        if not (self.path / RECIPE).exists():
            raise DeltaspaceError(
                f"{self.path} is not a study",
                found=f"no {RECIPE} in it" if self.path.is_dir() else "no such folder",
                expected="the folder given to 'deltaspace run --out'",
            )

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


def read_artefact_metadata(path: Path) -> dict[str, Any]:
    """The metadata of an artefact: of a safetensors file, or a JSON file itself.

    Raises:
        DeltaspaceError: it is missing or damaged.
    """
    metadata = read_metadata(path) if path.suffix == ".safetensors" else read_json(path)
    if not isinstance(metadata, dict):
        raise DeltaspaceError(f"{path} is damaged", found=type(metadata).__name__, expected="a JSON object")
    return metadata
