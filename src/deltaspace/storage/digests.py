"""SHA-256 of values and of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaspace.storage.reading import readable

_SEAL = "digest"


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value in its canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a file is to say, JSON-able, with a digest of all of it, so that a changed word is noticed."""
    # As it will be read: keys are texts, tuples are lists.
    plain = json.loads(json.dumps({name: value for name, value in said.items() if name != _SEAL}))
    return {**plain, _SEAL: digest(plain)}


def seal_holds(said: Mapping[str, Any]) -> bool:
    """Whether a file says what it was written with. One without a digest, as were written once, is believed.

    Example:
        >>> seal_holds(sealed({"score": 70})), seal_holds({**sealed({"score": 70}), "score": 99})
        (True, False)
    """
    return _SEAL not in said or said[_SEAL] == digest({name: value for name, value in said.items() if name != _SEAL})


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        DeltaspaceError: it is missing or cannot be read.
    """
    total = hashlib.sha256()
    with readable(path, "a file"), path.open("rb") as file:
        # hashlib.file_digest would do, but Python 3.10 lacks it.
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
