"""Models in GGUF files, and the demo's language model among them: converted once into the user's cache, then read as any folder.

The cache has a folder for each GGUF file, by its SHA-256: `model/` as transformers writes one, its weights dequantized to fp32 (a
weight tied to another left out), and `conversion.json`, which says what it was made from and what was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_header import GgufHeader, check_package, gguf_header
from deltaspace.storage import (
    cache_folder,
    file_digest,
    gguf_of,
    model_fingerprint,
    model_folder,
    read_json,
    replacing_folder,
    seal_holds,
    sealed,
    write_json,
)
from deltaspace.storage.models import DEMO_LM, DEMO_LM_SHA256, demo_lm_file

_FORMAT = "deltaspace.gguf/1"
_MODEL, _RECORD = "model", "conversion.json"


@dataclass(frozen=True)
class ModelFiles:
    """A PLM's files as transformers reads them.

    Args:
        folder: with config.json, the tokenizer and safetensors.
    """

    folder: Path

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the configuration, the tokenizer and the weights, read when it is first asked for."""
        return model_fingerprint(self.folder)


def model_files(name: str) -> ModelFiles:
    """Where a model's files are: its folder, or what its GGUF file was converted into, now if it was not yet.

    Raises:
        DeltaspaceError: there is no such model, or its GGUF file is damaged or of an architecture that transformers cannot read.
    """
    if name == DEMO_LM:
        return _converted(name, DEMO_LM_SHA256, demo_lm_file)
    path = gguf_of(name)
    if path is None:
        return ModelFiles(model_folder(name))

    @contextmanager
    def here() -> Iterator[Path]:
        yield path

    gguf_header(path)
    return _converted(name, file_digest(path), here)


def _converted(name: str, sha256: str, file: Callable[[], AbstractContextManager[Path]]) -> ModelFiles:
    """A GGUF file's folder in the cache; what is not whole there is made anew.

    Args:
        name: the model, for messages.
        sha256: of the file.
        file: gives the file itself, which is asked for only if it has to be converted.
    """
    kept = cache_folder() / "gguf" / sha256
    files = ModelFiles(kept / _MODEL)
    if (made := _recorded(kept, sha256)) is not None and files.fingerprint == made:
        return files
    check_package(f"model {name} cannot be converted")
    # Here, because it imports torch, which a model that was converted does not need yet.
    from deltaspace.pretrained import convert_gguf

    with replacing_folder(kept) as temporary, file() as path:
        header = gguf_header(path)
        _check_whole(path, header)
        convert_gguf(path, header.numbers, f"model {name}", temporary / _MODEL)
        made = model_fingerprint(temporary / _MODEL)
        write_json(temporary / _RECORD, sealed({"format": _FORMAT, "gguf": sha256, "model": made}))
    return ModelFiles(kept / _MODEL)


def _check_whole(path: Path, header: GgufHeader) -> None:
    """Raise DeltaspaceError where the file ends before its last tensor does."""
    from gguf.constants import GGML_QUANT_SIZES

    # Of a type that the package does not know, its reader tells.
    packed = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    known = [tensor for tensor in header.tensors if tensor.kind in packed]
    ends = [tensor.offset + -(-tensor.numbers // packed[tensor.kind][0]) * packed[tensor.kind][1] for tensor in known]
    expected, size = header.data + max(ends, default=0), path.stat().st_size
    if size < expected:
        raise DeltaspaceError(
            f"{path} is cut off within its tensors",
            found=f"{size:,} bytes",
            expected=f"at least {expected:,} bytes, as its header says",
            mend="copy or download it again",
        )


def _recorded(kept: Path, sha256: str) -> str | None:
    """The fingerprint of what a GGUF file was converted into; None where nothing whole is kept."""
    path = kept / _RECORD
    if not path.is_file():
        return None
    try:
        said = read_json(path)
    except DeltaspaceError:  # damaged: made anew
        return None
    if not isinstance(said, dict) or not seal_holds(said) or (said.get("format"), said.get("gguf")) != (_FORMAT, sha256):
        return None
    return str(said.get("model"))
