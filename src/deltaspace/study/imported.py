"""What a study took in from elsewhere: initial vectors in place of drawn ones, and where imported solutions are from."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, read_metadata, read_tensors, write_json, write_tensors
from deltaspace.study.folder import Folder


class Imports:
    """What a study took in: `imported/`, with an initial vector for each delta and seed, and where each solution is from.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / "imported"
        listed = self._path / "imports.json"
        self._sources: dict[str, dict[str, str]] = _sources(listed) if listed.exists() else {}

    def initial_path(self, delta: str, seed: int) -> Path:
        """Where the initial vector is, if there is one in place of that which is drawn."""
        return self._path / delta / f"{seed}.safetensors"

    def initial(self, delta: str, seed: int) -> Float[Tensor, " params"] | None:
        """The initial vector in place of that which is drawn, (n,)."""
        path = self.initial_path(delta, seed)
        return read_tensors(path)[0]["initial"] if path.exists() else None

    def checksum(self, delta: str, seed: int) -> str | None:
        """What tells that initial vector from others."""
        path = self.initial_path(delta, seed)
        return read_metadata(path)["checksum"] if path.exists() else None

    def source(self, task: str, delta: str, seed: int) -> dict[str, str] | None:
        """Where an imported solution is from, with the SHA-256 of its file; None for a solution that is trained here."""
        return self._sources.get(f"{delta}/{task}/{seed}")

    def keep_initial(self, delta: str, seed: int, initial: Tensor, how: str) -> None:
        """Fix the initial vector of a delta; it stays for later imports."""
        write_tensors(self.initial_path(delta, seed), {"initial": initial}, {"how": how})

    def keep_source(self, task: str, delta: str, seed: int, name: str, sha256: str) -> None:
        """Note where a solution is from."""
        self._sources[f"{delta}/{task}/{seed}"] = {"from": name, "sha256": sha256}
        write_json(self._path / "imports.json", self._sources)


def _sources(path: Path) -> dict[str, dict[str, str]]:
    """Where each imported solution is from, as the file says.

    Raises:
        DeltaspaceError: it is damaged.
    """
    said = read_json(path)
    if not isinstance(said, dict) or not all(
        isinstance(source, dict) and {*source} == {"from", "sha256"} for source in said.values()
    ):
        raise DeltaspaceError(
            f"{path} is damaged",
            expected="for each solution 'from' and 'sha256'",
            mend="delete it and import again: deltaspace import",
        )
    return said
