"""The header of a GGUF file as somebody else wrote it, looked at before a library reads any of it, or it is replaced.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian. The counts that a file states
bound nothing by themselves, so that every step here is checked against the file's length.
"""

from __future__ import annotations

import importlib.util
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import readable
from deltaspace.storage.reading import what_is_at

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# Bytes of the scalar types by their numbers: integers of 8 to 32 bits, float, bool, then those of 64 bits.
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
# Of the data, in bytes, where a file does not say otherwise.
_ALIGNMENT = 32
# No tensor of any PLM has more.
_DIMENSIONS = 8


@dataclass(frozen=True)
class GgufTensor:
    """What the header says of a tensor.

    Args:
        numbers: how many it holds.
        kind: the number of its type, as ggml counts them.
        offset: its first byte, from where the data begin.
    """

    numbers: int
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What the header of a GGUF file says.

    Args:
        architecture: as llama.cpp calls it.
        purpose: `general.type`: model, which it is where nothing is said, or adapter.
        tensors: what it says of each tensor.
        data: at which byte of the file the tensors' data begin.
    """

    architecture: str
    purpose: str
    tensors: tuple[GgufTensor, ...]
    data: int

    @property
    def numbers(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(tensor.numbers for tensor in self.tensors)


def gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        DeltaspaceError: it is no GGUF file, of another version, cut off, or states more than it has.
    """
    with readable(path, "a GGUF file"), path.open("rb") as file:
        try:
            return _Walk(file, os.fstat(file.fileno()).st_size).header()
        except (ValueError, struct.error) as error:
            raise DeltaspaceError(
                f"{path} is no GGUF file that can be read",
                found=str(error),
                expected="a whole GGUF file of version 2 or 3",
                mend="download it again",
            ) from None


def is_gguf(path: Path) -> bool:
    """Whether a path is called like a GGUF file."""
    return path.suffix.lower() == ".gguf"


def check_package(mistake: str) -> None:
    """Raise DeltaspaceError, which tells a mistake, unless the package gguf is installed, which reads and writes such files."""
    if importlib.util.find_spec("gguf") is None:
        raise DeltaspaceError(
            mistake,
            found="the package gguf is not installed",
            expected="gguf, which reads and writes such files",
            mend="pip install 'deltaspace[demo-lm]'",
        )


def check_replaceable(path: Path) -> None:
    """Raise DeltaspaceError unless a LoRA's GGUF file may be written: nothing is there, or an earlier one, never a model."""
    present = what_is_at(path)
    if present == "a file":
        try:
            purpose = gguf_header(path).purpose
        except DeltaspaceError:
            purpose = ""
        if purpose == "adapter":
            return
        present = "a GGUF file of a model" if purpose == "model" else "a file of another kind"
    if present is not None:
        raise DeltaspaceError(
            f"cannot write {path}",
            found=f"{present} is there",
            expected="an earlier LoRA as a GGUF file, or nothing",
            mend="choose another path",
        )


class _Walk:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def header(self) -> GgufHeader:
        if (magic := self._file.read(4)) != MAGIC:
            raise ValueError(f"it begins with {magic!r}")
        version, tensors, fields = struct.unpack("<IQQ", self._take(20))
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        architecture, purpose, alignment = "", "model", _ALIGNMENT
        for _ in range(fields):
            name, kind = self._text(), self._number("<I")
            if name == "general.architecture" and kind == _STRING:
                architecture = self._text()
            elif name == "general.type" and kind == _STRING:
                purpose = self._text()
            elif name == "general.alignment" and kind == _UINT32:
                alignment = max(1, self._number("<I"))
            else:
                self._pass(kind)
        if not architecture:
            raise ValueError("no general.architecture")
        listed = []
        for _ in range(tensors):
            self._text()
            if (count := self._number("<I")) > _DIMENSIONS:
                raise ValueError(f"a tensor of {count} dimensions")
            numbers = prod(struct.unpack(f"<{count}Q", self._take(8 * count)))
            listed.append(GgufTensor(numbers, *struct.unpack("<IQ", self._take(12))))
        return GgufHeader(architecture, purpose, tuple(listed), -(-self._file.tell() // alignment) * alignment)

    def _take(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError("it ends within its header")
        return self._file.read(count)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _text(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", errors="replace")

    def _pass(self, kind: int) -> None:
        """Go past a value."""
        if kind in _SCALARS:
            self._take(_SCALARS[kind])
        elif kind == _STRING:
            self._take(self._number("<Q"))
        elif kind == _ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SCALARS:
                self._take(_SCALARS[inner] * count)
            elif inner == _STRING:
                for _ in range(count):
                    self._take(self._number("<Q"))
            else:
                raise ValueError(f"an array of the type {inner}")
        else:
            raise ValueError(f"a value of the type {kind}")
