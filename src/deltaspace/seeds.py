"""Seeds that follow from a study's one seed."""

from __future__ import annotations

import hashlib

# What every generator takes.
LARGEST_SEED = 2**63 - 1


def derived_seed(seed: int, *purpose: str) -> int:
    """An independent seed (63 bits) for one purpose within a study.

    Example:
        >>> derived_seed(0, "batches", "sst2") == derived_seed(0, "batches", "sst2") != derived_seed(1, "batches", "sst2")
        True
    """
    return int.from_bytes(hashlib.sha256(repr((seed, *purpose)).encode()).digest()[:8], "little") >> 1
