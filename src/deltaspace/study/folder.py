"""The folder of a study: artefacts that carry the fingerprint of what they were made from."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import (
    clear_left,
    file_digest,
    is_temporary,
    read_json,
    read_metadata,
    read_tensors,
    seal_holds,
    sealed,
    walk,
    what_is_at,
    write_copy,
    write_json,
    write_tensors,
)
from deltaspace.study.claims import Claims
from deltaspace.study.files import RECIPE, RUNS, SWEEP
from deltaspace.study.kinds import other_ways, refuse_other
from deltaspace.study.lock import LOCK, Hold, locked, shared

State = Literal["valid", "missing", "stale", "damaged"]
# What may be there before a study has its recipe.
_BEFORE = (LOCK, RUNS, ".running", "imported", "tracking")
_SHOWN = 8
FINGERPRINT = re.compile("[0-9a-f]{64}")
_SUPERSEDED = "superseded"
# Folders beside those of the stages.
_BESIDE = ("imported", "report", "tracking", _SUPERSEDED)


class Folder:
    """A study's folder. Paths of artefacts are relative to it.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def has(self, path: str) -> bool:
        """Whether there is something at this path, whatever it is."""
        return what_is_at(self.path / path) is not None

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
        """Write an artefact atomically: a safetensors file, or JSON, which has no tensors.

        Raises:
            DeltaspaceError: there are tensors for a JSON file, or it cannot be written.
        """
        if path.endswith(".json"):
            if tensors:
                raise DeltaspaceError(
                    f"{path} cannot hold tensors", found=", ".join(tensors), mend="a stage that keeps them ends in .safetensors"
                )
            write_json(self.path / path, sealed(metadata))
        else:
            write_tensors(self.path / path, dict(tensors), dict(metadata))

    def files(self, stage: str) -> Iterator[str]:
        """The paths of all artefacts of a stage that are there, sorted; of whatever is called like one and is no folder.

        Raises:
            DeltaspaceError: a folder cannot be listed, or is a link.
        """
        if not (self.path / stage).is_dir():
            return
        # A task may be called "tweets.json": its folder is no artefact.
        listed = []
        for below, folders, names in walk(self.path / stage):
            _refuse_links(Path(below), folders)
            listed += [Path(below) / name for name in names if not name.startswith(".")]
        for path in sorted(listed):
            if path.suffix in (".safetensors", ".json"):
                yield path.relative_to(self.path).as_posix()

    def has_artefacts(self, stage: str) -> bool:
        """Whether there is an artefact of a stage."""
        return next(iter(self.files(stage)), None) is not None

    def strangers(self, stages: Iterable[str]) -> Iterator[str]:
        """The names of folders that hold files like artefacts and are none of these stages or of a study, sorted."""
        known = {*stages, *_BESIDE}
        for path in sorted(self.path.iterdir()):
            if path.is_dir() and path.name not in known and not path.name.startswith(".") and self.has_artefacts(path.name):
                yield path.name

    def resume_state(self, path: str) -> Path:
        """Where the computation of an artefact keeps its state while it runs."""
        return self.path / ".running" / f"{path}.safetensors"

    @property
    def live(self) -> Path:
        """Where a run says how far it is, while it runs."""
        return self.path / ".running" / "status.json"

    @property
    def claims(self) -> Claims:
        """Who makes which artefact now."""
        return Claims(self.path / ".running" / "claims")

    def forget_states(self, path: str) -> None:
        """Delete the states of an artefact's computation, which is there: its own, and those of the computation's parts."""
        state = self.resume_state(path)
        for kept in state.parent.glob(f"{glob.escape(state.stem)}*{state.suffix}"):
            if what_is_at(kept) != "a folder":
                kept.unlink(missing_ok=True)

    def keep(self, path: str) -> None:
        """Have what is at a path under `superseded/` as well, so that nothing computed is lost when something takes its place."""
        target = self._superseded(path, self._name(path))
        if not target.exists():
            _link(self.path / path, target)

    def set_aside(self, path: str) -> None:
        """Move what is at a path, and no longer asked for, under `superseded/`."""
        target = self._superseded(path, self._name(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).replace(target)

    def restore(self, path: str, fingerprint: str) -> bool:
        """Bring back an artefact that was set aside, if it is the one that is wanted now.

        Returns:
            Whether it was there.
        """
        kept = self._superseded(path, fingerprint)
        if not kept.exists():
            return False
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        kept.replace(self.path / path)
        return True

    def take(self, other: Folder, paths: Iterable[str]) -> None:
        """Have another study's artefacts in place of this one's: the same files, as artefacts are never changed in place."""
        for path in paths:
            _link(other.path / path, self.path / path)

    def _superseded(self, path: str, fingerprint: str) -> Path:
        name = Path(path)
        return self.path / _SUPERSEDED / name.with_name(f"{name.stem}.{fingerprint[:12]}{name.suffix}")

    def _name(self, path: str) -> str:
        """What tells an artefact from others of its path: its fingerprint; the SHA-256 of its bytes where it does not say one."""
        try:
            said = self.metadata(path).get("fingerprint")
        except DeltaspaceError:
            said = None
        return said if isinstance(said, str) and FINGERPRINT.fullmatch(said) else file_digest(self.path / path)

    def check(self) -> None:
        """Raise DeltaspaceError unless the folder is a study's."""
        if not (self.path / RECIPE).exists():
            refuse_other(self.path, "study")
            raise DeltaspaceError(
                f"{self.path} is not a study",
                found="no such folder",
                expected="the folder given to 'deltaspace run --out'",
                mend=other_ways(self.path, "study"),
            )

    def check_free(self) -> list[Path]:
        """Raise DeltaspaceError where a run would write among somebody's files, or through a link in the study.

        Returns:
            The temporary folders in it, of living processes and dead ones: a large study is walked once.
        """
        present = what_is_at(self.path, follow=True)
        if present == "a folder":
            present = ", ".join(self._others()[:_SHOWN])
        if present:
            raise DeltaspaceError(
                f"{self.path} is not a study",
                found=f"{present} is there",
                expected="a study, or a new folder",
                mend="choose another",
            )
        temporary = []
        for folder, folders, _ in walk(self.path):
            temporary += [Path(folder) / name for name in folders if is_temporary(name)]
            folders[:] = [name for name in folders if not is_temporary(name)]
            _refuse_links(Path(folder), folders)
        return temporary

    def _others(self) -> list[str]:
        """What is in the folder, unless it is a study's: a run locks it before it writes anything else."""
        names = sorted(path.name for path in self.path.iterdir())
        if RECIPE in names and (LOCK in names or RUNS in names):
            return []
        return [name for name in names if name not in _BEFORE and not name.endswith(".tmp")]

    @contextmanager
    def locked(self, *, join: bool = False) -> Iterator[Hold]:
        """Hold the folder for one run, and clear away what killed processes left half written.

        Args:
            join: beside a run that shares it, where there is one.

        Raises:
            DeltaspaceError: another run holds it, or the sweep that it is of; something else is in it; it cannot be written.
        """
        temporary = self.check_free()
        # A sweep that runs has all of its studies.
        of_sweep = (self.path.parent / SWEEP).exists()
        with shared(self.path.parent) if of_sweep else nullcontext(), locked(self.path, join=join) as hold:
            clear_left(temporary)
            if not hold.joined:
                self.claims.clear()
            yield hold


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise DeltaspaceError where a folder in a study is a link: it is neither written through, nor passed over."""
    for name in names:
        if (link := folder / name).is_symlink():
            raise DeltaspaceError(
                f"{link} is a link",
                found=str(link.readlink()),
                expected="a folder; nothing is written through links",
                mend="put the folder itself there, or run the whole study elsewhere",
            )


def read_artefact_metadata(path: Path) -> dict[str, Any]:
    """The metadata of an artefact: of a safetensors file, or a JSON file itself.

    Raises:
        DeltaspaceError: it is missing or damaged.
    """
    metadata = read_metadata(path) if path.suffix == ".safetensors" else read_json(path)
    if not isinstance(metadata, dict):
        raise DeltaspaceError(f"{path} is damaged", found=type(metadata).__name__, expected="a JSON object")
    if not seal_holds(metadata):
        raise DeltaspaceError(
            f"{path} is damaged", found="what it says does not match its digest", expected="a file as it was written"
        )
    return metadata


def _link(source: Path, target: Path) -> None:
    """Have a file, which is never changed in place, at another path too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links
        write_copy(source, target)
