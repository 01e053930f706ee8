"""SHA-256 of values and of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


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
