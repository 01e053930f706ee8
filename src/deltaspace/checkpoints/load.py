"""Checkpoints in, in deltaspace's format: a delta on a PLM, and its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, read_delta
from deltaspace.deltas.checkpoint import DESCRIPTION, read_description
from deltaspace.storage import download

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone


def load_delta(name: str | Path, backbone: Backbone) -> tuple[AttachedDelta, Float[Tensor, " params"]]:
    """Read a checkpoint of `export_delta` that has a `delta.json`, from a folder or the Hub.

    Returns:
        The delta on the PLM, and its parameters, (n,): `attached.call(parameters, lambda model: model(**inputs))`.

    Raises:
        DeltaspaceError: it is damaged, of another PLM, of a newer version, or no such checkpoint.
    """
    folder = download(name, DESCRIPTION)
    description = read_description(folder)
    description.check_base(name, backbone.name, backbone.fingerprint)
    delta = read_delta(description.name, description.delta, str(name))
    attached = AttachedDelta(delta, backbone, description.seed, description.name)
    [parameters] = delta.read(attached, [folder])
    return attached, parameters
