"""Checkpoints in: peft's own folders, here or on the Hugging Face Hub, as parameters of a delta. safetensors only.

Solutions can be decomposed together only as displacements from ONE initial vector. Where a method's initial values do not depend
on chance, or the seed they were drawn from is known, that is theta0; else it is the mean of the given checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.deltas.peft_checkpoint import CONFIG, WEIGHTS
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import download, file_digest


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that fits.

    Args:
        name: as it was given.
        parameters: (n,).
        sha256: of its weights' file.
        folder: where it is on this machine.
    """

    name: str
    parameters: Float[Tensor, " params"]
    sha256: str
    folder: Path


def read_checkpoints(names: Sequence[str], attached: AttachedDelta, *, same_base: bool = False) -> list[Checkpoint]:
    """Read folders of peft as parameters of a delta.

    Args:
        names: folders, or owner/name on the Hub.
        attached: the delta they must be of.
        same_base: their model is this one, whatever their configurations call it.

    Raises:
        DeltaspaceError: one is of another model or method, other settings, names or shapes; or it does not hold the method's
            parameters.
    """
    if not isinstance(attached.delta, PeftBacked):
        raise DeltaspaceError(f"{attached.name} is no method of peft", expected="checkpoints of one of the recipe's peft methods")
    folders = [download(name, CONFIG) for name in names]
    vectors = attached.delta.read(attached, folders, same_base=same_base)
    return [
        Checkpoint(str(name), vector, file_digest(folder / WEIGHTS), folder)
        for name, folder, vector in zip(names, folders, vectors, strict=True)
    ]


def initial_for(
    attached: AttachedDelta, checkpoints: Sequence[Checkpoint], initial_seed: int | None
) -> tuple[Float[Tensor, " params"], str]:
    """theta0, (n,), for checkpoints from elsewhere, and where it is from (see the top of this file).

    Args:
        attached: the delta.
        checkpoints: all that are taken in together.
        initial_seed: that their initial values were drawn from, where it is known.

    Raises:
        DeltaspaceError: it would be the mean of one checkpoint.
    """
    other = AttachedDelta(attached.delta, attached.backbone, attached.seed + 1, attached.name)
    if other.initial.equal(attached.initial):
        return attached.initial, "the method's own initial values, which no seed changes"
    if initial_seed is not None:
        return drawn(attached, initial_seed), f"drawn again from torch.manual_seed({initial_seed})"
    if len(checkpoints) < 2:
        raise DeltaspaceError(
            f"the initial values of {attached.name} are not known",
            found="one checkpoint, of which no mean can be taken",
            expected="several checkpoints at once, or the seed that their initial values were drawn from",
            mend="give more folders (each with its --task), or --initial-seed",
        )
    return torch.stack([c.parameters for c in checkpoints]).mean(0), f"the mean of {len(checkpoints)} checkpoints"


def drawn(attached: AttachedDelta, seed: int) -> Float[Tensor, " params"]:
    """The initial values, (n,), that `torch.manual_seed(seed)` followed by peft's `get_peft_model` gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = attached.delta.install(attached.backbone.share(), attached.backbone)
    return attached.layout.flatten(dict(model.named_parameters())).detach().clone()
