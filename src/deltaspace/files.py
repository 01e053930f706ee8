"""Reading and writing files so that nothing half-written is ever left, and nothing broken is ever believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# A safetensors file starts with the length of its JSON header, 8 bytes, little endian.
_LENGTH_BYTES = 8
_HEADER_LIMIT = 100_000_000


def cache_folder() -> Path:
    """The user's cache folder: `$DELTASPACE_CACHE`, else `$XDG_CACHE_HOME/deltaspace`, else `~/.cache/deltaspace`."""
    if own := os.environ.get("DELTASPACE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deltaspace"


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value in its canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        # hashlib.file_digest would do, but Python 3.10 lacks it.
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes `path`'s place at once.

    Raises:
        DeltaspaceError: the disk is full or the folder cannot be written; `path` is as it was before.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: its files are for their owner alone, and a study is often shared.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success its files take their places in `path`, each at once, and others there stay.

    Raises:
        DeltaspaceError: as `replacing`; on any error `path` is as it was before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(own for own in temporary.rglob("*") if own.is_file()):
            target = path / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> DeltaspaceError:
    reasons = {
        errno.ENOSPC: ("no space left on the disk", "free some space, then run the same command: finished work is kept"),
        errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command: finished work is kept"),
        errno.EACCES: ("permission denied", "choose a folder that you may write to"),
        errno.EROFS: ("a read-only file system", "choose a folder that you may write to"),
    }
    found, mend = reasons.get(error.errno or 0, (str(error), "choose another folder"))
    return DeltaspaceError(f"cannot write {path}", found=found, mend=mend)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_copy(source: Path, path: Path) -> None:
    """Copy a file atomically."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DeltaspaceError: the file is missing or is not UTF-8 JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeltaspaceError(f"{path} is missing", expected="a JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DeltaspaceError(f"{path} cannot be read", found=str(error), expected="UTF-8 JSON") from None


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a safetensors file atomically. `metadata` is any JSON-able dict; a checksum of the tensors is added to it."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"deltaspace": json.dumps({**metadata, "checksum": _checksum(plain)}, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata=header)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_tensors`: the tensors and the metadata.

    Raises:
        DeltaspaceError: the file is missing, truncated, damaged or was not written by deltaspace.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    metadata = read_metadata(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None
    if _checksum(tensors) != metadata["checksum"]:
        raise _damaged(path, "its tensors do not match its checksum")
    return tensors, metadata


def tensor_place(path: Path, name: str) -> tuple[int, int, torch.dtype]:
    """Where a vector of a safetensors file lies: its first byte, how many numbers it has, and of what type.

    Raises:
        DeltaspaceError: the file is missing or damaged, or has no such vector.
    """
    import torch

    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    _, entries, data = _header(path)
    entry = entries.get(name)
    if entry is None or entry["dtype"] not in types or len(entry["shape"]) != 1:
        found = "none" if entry is None else f"{entry['dtype']}, shape {entry['shape']}"
        raise DeltaspaceError(f"{path} has no vector {name!r}", found=found, expected=f"one of {', '.join(types)}")
    begin = entry["data_offsets"][0]
    return data + begin, entry["shape"][0], types[entry["dtype"]]


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file of `write_tensors`, without reading its tensors (and without torch).

    Raises:
        DeltaspaceError: as `read_tensors`, but damage inside the tensors goes unseen.
    """
    return _header(path)[0]


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Our metadata, the tensors' entries by name, and where the tensors begin."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _HEADER_LIMIT:
                raise _damaged(path, "its header is not that of a safetensors file")
            entries = json.loads(file.read(length))
            own = json.loads(entries.pop("__metadata__")["deltaspace"])
    except FileNotFoundError:
        raise DeltaspaceError(f"{path} is missing", expected="a safetensors file of deltaspace") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise _damaged(path, "its header cannot be read") from None
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    size, expected = path.stat().st_size, _LENGTH_BYTES + length + end
    if size != expected:
        raise _damaged(path, f"{size:,} bytes where its header announces {expected:,}")
    return own, entries, _LENGTH_BYTES + length


def _damaged(path: Path, found: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"{path} is damaged",
        found=found,
        expected="a whole safetensors file written by deltaspace",
        mend="delete it and run the study again: only this file is made anew",
    )


def _checksum(tensors: dict[str, Tensor]) -> str:
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
