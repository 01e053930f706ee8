"""Tasks of a subspace as folders of LoRAs, made when they are asked for.

A folder's name ends in a hash of all that decides its content, so that a changed vector is another folder and another name:
caches that go by name never answer from before the change. Folders are written whole or not at all, several processes may share
one place, and beyond a number of bytes those go that were asked for longest ago.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.peft_checkpoint import CONFIG, WEIGHTS
from deltaspace.errors import DeltaspaceError
from deltaspace.names import require_task_name
from deltaspace.serving.lora_writer import LoraWriter
from deltaspace.storage import (
    as_documented,
    cache_folder,
    check_format,
    checked_text,
    digest,
    read_metadata,
    replacing_folder,
)
from deltaspace.subspace import Plm, Subspace, Vectors, load_subspace
from deltaspace.subspace.subspace import FORMAT

_SUBSPACE, _VECTORS = "subspace.safetensors", "vectors.safetensors"
_HASH = 16
# Between a task and the hash: no name of a task has it.
_MARK = "@"
LARGEST_BYTES = 10 * 10**9


@dataclass(frozen=True)
class LoraFolder:
    """A task as a LoRA.

    Args:
        name: task@hash, a name of this very content.
        path: the folder, as peft writes it.
        task: the task's name.
    """

    name: str
    path: Path
    task: str


class LoraFolders:
    """The tasks of a subspace as LoRA folders; safe under threads and processes.

    Nothing but names is read before the first task is asked for. Files are read again when they change, so that tasks come and go
    while a server runs.

    Args:
        subspace: a folder of `save_subspace`.
        delta: which LoRA of it; its only one by default.
        cache: where LoRA folders are put; below the user's cache folder by default.
        largest: bytes of all of them together.

    Raises:
        DeltaspaceError: it is no such folder, or no LoRA is chosen.
    """

    def __init__(
        self, subspace: Path | str, delta: str | None = None, *, cache: Path | None = None, largest: int = LARGEST_BYTES
    ) -> None:
        self.subspace = Path(subspace)
        self.largest = largest
        self._asked, self._root = delta, cache or cache_folder() / "loras"
        self._lock = threading.RLock()
        self._read: _Read | None = None
        self._files()

    @property
    def model(self) -> str:
        """The PLM, as the subspace names it."""
        return self._files().plm.name

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that there are now."""
        read = self._files()
        return list(dict.fromkeys([*read.vectors.tasks, *read.sources]))

    def writer(self) -> LoraWriter:
        """What writes its LoRA: rank and modules are known without reading the basis.

        Raises:
            DeltaspaceError: the delta is no LoRA, or the PLM's folder is not there.
        """
        read = self._files()
        return LoraWriter(read.delta, read.settings, read.plm)

    def find(self, name: str) -> LoraFolder | None:
        """The folder of a task, made if need be; None where there is no such task, or not with that hash any more.

        Args:
            name: the task's, or task@hash.

        Raises:
            DeltaspaceError: the subspace's files are damaged, the task has vectors of several other deltas, or the folder cannot
                be written.
        """
        task, _, asked = name.partition(_MARK)
        with self._lock:
            read = self._files()
            if task not in read.vectors.tasks and task not in read.sources:
                return None
            require_task_name(task, f"{self.subspace} has a task that cannot be written as a folder", "rename it there")
            if read.loaded is None:
                read.loaded = load_subspace(self.subspace), self.writer()
        subspace, writer = read.loaded
        current = replace(subspace, vectors=read.vectors)
        vector = current.vector(task, current.through(task, read.delta))
        content = _hash(read.made_from, vector)
        if asked not in ("", content):
            return None
        folder = read.cache / f"{task}{_MARK}{content}"
        if not _whole(folder):
            try:
                with torch.no_grad(), replacing_folder(folder) as made:
                    writer.write(current.decode(read.delta, vector), made)
            except DeltaspaceError:
                if not _whole(folder):  # else another thread or process was faster
                    raise
        # Not the system's clock for files, which stands still for milliseconds.
        now = time.time_ns()
        with suppress(OSError):
            os.utime(folder, ns=(now, now))
        self._clear(folder)
        return LoraFolder(folder.name, folder, task)

    def _files(self) -> _Read:
        """What is in the subspace's files now."""
        with self._lock:
            path = self.subspace / _VECTORS
            versions = _version(self.subspace / _SUBSPACE), _version(path)
            if self._read is None or self._read.versions != versions:
                metadata = read_metadata(self.subspace / _SUBSPACE)
                check_format(self.subspace / _SUBSPACE, metadata, FORMAT, "is not a subspace")
                with as_documented(self.subspace / _SUBSPACE):
                    dim = int(metadata["dim"])
                vectors = Vectors.load(path) if versions[1] is not None else Vectors(dim)
                if vectors.dim != dim:
                    raise DeltaspaceError(f"{path} is of another subspace", found=vectors.dim, expected=dim)
                with as_documented(self.subspace / _SUBSPACE):
                    delta = _chosen(metadata["deltas"], self._asked, self.subspace)
                    settings = metadata["deltas"][delta]["settings"]
                    made_from = [metadata["checksum"], delta, settings]
                    sources = tuple(map(checked_text, metadata["sources"]))
                    read = _Read(versions, vectors, sources, Plm.of(metadata["plm"]), delta, settings, made_from)
                read.cache = self._root / digest(made_from)[:_HASH]
                if self._read is not None and self._read.made_from == made_from:
                    read.loaded = self._read.loaded
                self._read = read
            return self._read

    def _clear(self, kept: Path) -> None:
        """Delete what was asked for longest ago, until the rest is within bounds."""
        with self._lock:
            folders = []
            for folder in kept.parent.glob(f"*{_MARK}*"):
                with suppress(OSError):  # another process may have deleted it
                    size = sum(path.stat().st_size for path in folder.iterdir())
                    folders.append((folder.stat().st_mtime_ns, size, folder))
            total = sum(size for _, size, _ in folders)
            for _, size, folder in sorted(folders):
                if total <= self.largest or folder == kept:
                    break
                shutil.rmtree(folder, ignore_errors=True)
                total -= size


@dataclass
class _Read:
    """What was read of a subspace's files.

    Args:
        versions: of the two files.
        vectors: of the tasks.
        sources: names of the source tasks, which have codes.
        plm: whose it is.
        delta: the LoRA.
        settings: of it.
        made_from: what decides a folder's content beside its vector.
        cache: where folders are.
        loaded: the basis, and what writes; once a task was asked for.
    """

    versions: tuple[object, object]
    vectors: Vectors
    sources: tuple[str, ...]
    plm: Plm
    delta: str
    settings: dict[str, Any]
    made_from: list[Any]
    cache: Path = Path()
    loaded: tuple[Subspace, LoraWriter] | None = None


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _chosen(deltas: dict[str, dict[str, Any]], name: str | None, where: Path) -> str:
    if name is not None:
        if name not in deltas:
            raise DeltaspaceError(f"{where} has no delta {name!r}", expected=", ".join(deltas))
        return name
    loras = [key for key, said in deltas.items() if _is_lora(said["settings"])]
    if len(loras) != 1:
        raise DeltaspaceError(
            f"{where} has {'several LoRAs' if loras else 'no LoRA'}",
            found=", ".join(loras or deltas),
            mend="name one of them"
            if loras
            else "write a task as one: deltaspace export SUBSPACE --task TASK --delta DELTA --as lora --inputs FILE -o FOLDER",
        )
    return loras[0]


def _is_lora(settings: object) -> bool:
    return isinstance(settings, dict) and (settings.get("method") == "lora" or settings.get("peft") == "LORA")


def _hash(made_from: list[Any], vector: Float[Tensor, " dim"]) -> str:
    values = hashlib.sha256(vector.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return digest([made_from, values])[:_HASH]


def _whole(folder: Path) -> bool:
    # Folders appear whole: who finds both files finds all.
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()
