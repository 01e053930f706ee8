"""What a study took in from elsewhere: initial vectors in place of drawn ones, and where imported solutions are from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, read_metadata, read_tensors, seal_holds, sealed, write_json, write_tensors
from deltaspace.study.folder import Folder


class Imports:
    """What a study took in: `imported/`, with an initial vector for each delta and seed, and where each solution is from.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / "imported"
        # What a run tells people of.
        self.doubts: list[str] = []
        listed = self._path / "imports.json"
        try:
            self._sources = _sources(listed)
        except DeltaspaceError as error:
            self._sources = _said_by_solutions(folder, error)
            if self._sources or listed.exists():
                self.doubts.append(f"{error.what}: where solutions were imported from is taken from what these say")

    def initial_path(self, delta: str, seed: int) -> Path:
        """Where the initial vector is, if there is one in place of that which is drawn."""
        return self._path / delta / f"{seed}.safetensors"

    def initial(self, delta: str, seed: int) -> Float[Tensor, " params"] | None:
        """The initial vector in place of that which is drawn, (n,).

        Raises:
            DeltaspaceError: solutions were imported, and it is missing or damaged.
        """
        return self.kept_initial(delta, seed) if self._has_initial(delta, seed) else None

    def kept_initial(self, delta: str, seed: int) -> Float[Tensor, " params"] | None:
        """The same; None where it is missing, as before an import."""
        path = self.initial_path(delta, seed)
        return read_tensors(path)[0]["initial"] if path.exists() else None

    def checksum(self, delta: str, seed: int) -> str | None:
        """What tells that initial vector from others."""
        if not self._has_initial(delta, seed):
            return None
        said, path = read_metadata(self.initial_path(delta, seed)), self.initial_path(delta, seed)
        if (said.get("delta", delta), said.get("seed", seed)) != (delta, seed):
            raise DeltaspaceError(
                f"{path} does not belong there",
                found=f"the initial vector of {said['delta']} with seed {said['seed']}",
                mend="put it back, or import the solutions again: deltaspace import",
            )
        return str(said["checksum"])

    def _has_initial(self, delta: str, seed: int) -> bool:
        path = self.initial_path(delta, seed)
        if path.exists():
            return True
        if any(key.startswith(f"{delta}/") and key.endswith(f"/{seed}") for key in self._sources):
            raise DeltaspaceError(
                f"{path} is missing",
                expected=f"the initial vector that solutions of {delta} were imported with",
                mend="put it back, or import them again: deltaspace import",
            )
        return False

    def source(self, task: str, delta: str, seed: int) -> dict[str, str] | None:
        """Where an imported solution is from, with the SHA-256 of its file; None for a solution that is trained here."""
        return self._sources.get(f"{delta}/{task}/{seed}")

    def keep_initial(self, delta: str, seed: int, initial: Tensor, how: str, settings: Mapping[str, Any]) -> None:
        """Fix the initial vector of a delta with its settings; it stays for later imports."""
        said = {"how": how, "delta": delta, "seed": seed, "settings": settings}
        write_tensors(self.initial_path(delta, seed), {"initial": initial}, said)

    def check_settings(self, delta: str, seed: int, settings: Mapping[str, Any]) -> None:
        """See that the initial vector, if there is one, is of a delta with these settings.

        Raises:
            DeltaspaceError: it is of another one.
        """
        path = self.initial_path(delta, seed)
        kept = read_metadata(path).get("settings", settings) if path.exists() else settings
        if kept != json.loads(json.dumps(settings)):
            raise DeltaspaceError(
                f"{path} is the initial vector of another {delta}",
                found=f"imported with {json.dumps(kept)[:300]}",
                expected=json.dumps(settings)[:300],
                mend="import into a new study, or give the delta another name in the recipe",
            )

    def keep_source(self, task: str, delta: str, seed: int, name: str, sha256: str) -> None:
        """Note where a solution is from."""
        self._sources[f"{delta}/{task}/{seed}"] = {"from": name, "sha256": sha256}
        write_json(self._path / "imports.json", sealed(self._sources))


def _sources(path: Path) -> dict[str, dict[str, str]]:
    """Where each imported solution is from, as the file says.

    Raises:
        DeltaspaceError: it is missing or damaged.
    """
    said = read_json(path)
    whole = isinstance(said, dict) and seal_holds(said)
    said = {key: source for key, source in said.items() if key != "digest"} if whole else None
    if not isinstance(said, dict) or not all(
        isinstance(source, dict) and {*source} == {"from", "sha256"} for source in said.values()
    ):
        raise DeltaspaceError(
            f"{path} is damaged",
            expected="for each solution 'from' and 'sha256'",
            mend="delete it and import again: deltaspace import",
        )
    return said


def _said_by_solutions(folder: Folder, without: DeltaspaceError) -> dict[str, dict[str, str]]:
    """Where each imported solution is from, as it says itself.

    Raises:
        DeltaspaceError: `without`, where a solution that may have been imported cannot be read: it would be trained instead.
    """
    sources = {}
    for path in folder.files("independent"):
        try:
            said = folder.metadata(path).get("imported")
        except DeltaspaceError as error:
            if (folder.path / "imported").exists():
                raise DeltaspaceError(
                    without.what,
                    found=f"and so is {path}: {error.found}",
                    expected="one of them, to tell whether it was imported",
                    mend="import it again, or delete both to have it trained",
                ) from None
            continue
        if isinstance(said, dict) and {*said} == {"from", "sha256"}:
            sources[path.partition("/")[2].rpartition(".")[0]] = said
    return sources
