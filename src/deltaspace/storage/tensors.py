"""safetensors files with metadata and a checksum, so that nothing broken is ever believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.atomic import replacing
from deltaspace.storage.digests import seal_holds, sealed
from deltaspace.storage.reading import readable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Thing = TypeVar("Thing")
# A safetensors file starts with the length of its JSON header, 8 bytes, little endian.
_LENGTH_BYTES = 8
_AGAIN = "in a study, run it again: what is damaged is made anew; elsewhere, write, export or import it again"
_HEADER_LIMIT = 100_000_000


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a safetensors file atomically. `metadata` is any JSON-able dict; a checksum of the tensors is
    added to it, and a digest of all that it says then.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = sealed({**metadata, "checksum": _checksum(plain)})
    header = {"deltaspace": json.dumps(said, sort_keys=True)}
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
    with readable(path, "a safetensors file of deltaspace"):
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise _damaged(path, str(error)) from None
    if _checksum(tensors) != metadata.get("checksum"):
        raise _damaged(path, "its tensors do not match its checksum")
    return tensors, metadata


def vector_location(path: Path, name: str) -> tuple[int, int, torch.dtype]:
    """Where a vector of a safetensors file lies: its first byte, how many numbers it has, and of what type.

    Raises:
        DeltaspaceError: the file is missing or damaged, or has no such vector.
    """
    import torch

    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    _, entries, data = _header(path)
    entry = entries.get(name)
    if entry is None or entry.get("dtype") not in types or len(entry.get("shape", ())) != 1:
        present = "none" if entry is None else f"{entry.get('dtype')}, shape {entry.get('shape')}"
        raise DeltaspaceError(f"{path} has no vector {name!r}", found=present, expected=f"one of {', '.join(types)}")
    begin = entry["data_offsets"][0]
    return data + begin, entry["shape"][0], types[entry["dtype"]]


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file of `write_tensors`, without reading its tensors (and without torch).

    Raises:
        DeltaspaceError: as `read_tensors`, but damage inside the tensors goes unseen.
    """
    return _header(path)[0]


def check_format(path: Path, metadata: dict[str, Any], known: str, otherwise: str) -> None:
    """See that a file is of a format that this version reads.

    Args:
        path: the file, for messages.
        metadata: its own, with the `format` that it was written in, a name and a version: `deltaspace.vectors/1`.
        known: the newest version of the format that is wanted.
        otherwise: what the message says of a file of another format, such as "is not a subspace".

    Raises:
        DeltaspaceError: it is of another format, or was written by a newer version.
    """
    written = str(metadata.get("format"))
    name, _, version = written.partition("/")
    if name != known.partition("/")[0] or not version.isdecimal():
        raise DeltaspaceError(
            f"{path} {otherwise}",
            found=metadata.get("format"),
            expected=known,
            mend="give a file of that format, or write it again",
        )
    if int(version) > int(known.partition("/")[2]):
        raise DeltaspaceError(
            f"{path} was written by a newer deltaspace",
            found=written,
            expected=f"{known} or older",
            mend="pip install -U deltaspace",
        )


def read_packed(path: Path, known: str, otherwise: str, unpack: Callable[[dict[str, Tensor], dict[str, Any]], Thing]) -> Thing:
    """What a file of tensors and metadata holds, once its format is known to be one that this version reads.

    Args:
        path: the file.
        known, otherwise: see `check_format`.
        unpack: makes the thing from tensors and metadata.

    Raises:
        DeltaspaceError: the file is missing, damaged, of another format or of a newer version, or lacks something.
    """
    tensors, metadata = read_tensors(path)
    check_format(path, metadata, known, otherwise)
    with as_documented(path):
        return unpack(tensors, metadata)


@contextmanager
def as_documented(path: Path) -> Iterator[None]:
    """Tell that a file is damaged where what it says is not of the form that is taken from it.

    Raises:
        DeltaspaceError: something is missing, or of another type.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DeltaspaceError(
            f"{path} is damaged", found=f"{type(error).__name__}: {error}", expected="what docs/format.md lists", mend=_AGAIN
        ) from None


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Our metadata, the tensors' entries by name, and where the tensors begin."""
    with readable(path, "a safetensors file of deltaspace"):
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
                if length > _HEADER_LIMIT:
                    raise _damaged(path, "its header is not that of a safetensors file")
                entries = json.loads(file.read(length))
                metadata = json.loads(entries.pop("__metadata__")["deltaspace"])
            end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            raise _damaged(path, "its header cannot be read") from None
    if not isinstance(metadata, dict) or not seal_holds(metadata):
        raise _damaged(path, "what its header says does not match its digest")
    size, expected = path.stat().st_size, _LENGTH_BYTES + length + end
    if size != expected:
        raise _damaged(path, f"{size:,} bytes where its header announces {expected:,}")
    return metadata, entries, _LENGTH_BYTES + length


def _damaged(path: Path, how: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"{path} is damaged",
        found=how,
        expected="a whole safetensors file written by deltaspace",
        mend=_AGAIN,
    )


def _checksum(tensors: dict[str, Tensor]) -> str:
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
