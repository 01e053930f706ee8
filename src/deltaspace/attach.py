"""Attaching a delta by its name."""

from __future__ import annotations

from typing import Any

from deltaspace.backbone import Backbone
from deltaspace.deltas import DELTAS, AttachedDelta, Delta
from deltaspace.errors import DeltaspaceError


def attach(delta: str | Delta, backbone: Backbone, *, seed: int = 0, **settings: Any) -> AttachedDelta:
    """Attach a delta tuning method to a backbone.

    Args:
        delta: its name with `settings`, or the method itself.
        backbone: the PLM, whose weights all its deltas share.
        seed: decides the initial vector.

    Raises:
        DeltaspaceError: there is no such delta, or the backbone has no place for it.
    """
    if isinstance(delta, str):
        if delta not in DELTAS:
            raise DeltaspaceError(f"no delta {delta!r}", expected=", ".join(DELTAS))
        delta = DELTAS[delta](**settings)
    return AttachedDelta(delta, backbone, seed)
