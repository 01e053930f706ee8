"""Loading what transformers wrote: from a local folder alone, and never running code that lies in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained` of a folder. All of the package goes through this function, which no option can make trust code.

    Args:
        kind: a class of transformers, such as AutoTokenizer or a model's.
        folder: a local one.
        options: what else `from_pretrained` takes.
    """
    return kind.from_pretrained(folder, **{**options, "local_files_only": True, "trust_remote_code": False})
