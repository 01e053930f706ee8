"""Checkpoints in: peft's own folders, here or on the Hugging Face Hub, as parameters of a delta. safetensors only.

Solutions can be decomposed together only as displacements from ONE initial vector. Where a method's initial values do not depend
on chance, or the seed they were drawn from is known, that is theta0; else it is the mean of the given checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.deltas.peft_backed import each_fits
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


class Checkpoints:
    """Folders of peft as parameters of a delta, each read anew whenever it is asked for: one is in memory at a time.

    Args:
        names: folders, or owner/name on the Hub.
        attached: the delta they must be of.
        same_base: their model is this one, whatever their configurations call it.

    Raises:
        DeltaspaceError: a folder is missing; or one that is asked for is of another model or method, other settings, names or
            shapes, does not hold the method's parameters, or is no more what was read before.
    """

    def __init__(self, names: Sequence[str], attached: AttachedDelta, *, same_base: bool = False) -> None:
        if not isinstance(attached.delta, PeftBacked):
            raise DeltaspaceError(
                f"{attached.name} is no method of peft", expected="checkpoints of one of the recipe's peft methods"
            )
        self._names, self._delta = [str(name) for name in names], attached.name
        self._folders = [download(name, CONFIG) for name in names]
        self._reader = attached.delta.reader(attached, same_base=same_base)
        self._seen: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Checkpoint]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Checkpoint:
        name, folder = self._names[index], self._folders[index]
        parameters, sha256 = self._reader(folder), file_digest(folder / WEIGHTS)
        if self._seen.setdefault(index, sha256) != sha256:
            raise DeltaspaceError(f"{folder / WEIGHTS} changed while it was read", mend="run the same command again")
        return Checkpoint(name, parameters, sha256, folder)

    def checked(self) -> Iterator[Checkpoint]:
        """Each once; all that do not fit are told in one message, after the last."""
        return each_fits((functools.partial(self.__getitem__, number) for number in range(len(self))), self._delta)


def read_checkpoints(names: Sequence[str], attached: AttachedDelta, *, same_base: bool = False) -> list[Checkpoint]:
    """All of `Checkpoints`, in memory together.

    Raises:
        DeltaspaceError: see there; all that do not fit are told at once.
    """
    return list(Checkpoints(names, attached, same_base=same_base).checked())


def initial_for(
    attached: AttachedDelta, checkpoints: Iterable[Checkpoint], initial_seed: int | None
) -> tuple[Float[Tensor, " params"], str]:
    """theta0, (n,), for checkpoints from elsewhere, and where it is from (see the top of this file).

    Args:
        attached: the delta.
        checkpoints: all that are taken in together; read one after the other, where their mean is asked for.
        initial_seed: that their initial values were drawn from, where it is known.

    Raises:
        DeltaspaceError: it would be the mean of one checkpoint.
    """
    other = AttachedDelta(attached.delta, attached.backbone, attached.seed + 1, attached.name)
    if other.initial.equal(attached.initial):
        return attached.initial, "the method's own initial values, which no seed changes"
    if initial_seed is not None:
        return drawn(attached, initial_seed), f"drawn again from torch.manual_seed({initial_seed})"
    total, count = torch.zeros_like(attached.initial, dtype=torch.float64), 0
    for checkpoint in checkpoints:
        total, count = total + checkpoint.parameters, count + 1
    if count < 2:
        raise DeltaspaceError(
            f"the initial values of {attached.name} are not known",
            found="one checkpoint, of which no mean can be taken",
            expected="several checkpoints at once, or the seed that their initial values were drawn from",
            mend="give more folders, or --initial-seed",
        )
    return (total / count).to(attached.initial), f"the mean of {count} checkpoints"


def drawn(attached: AttachedDelta, seed: int) -> Float[Tensor, " params"]:
    """The initial values, (n,), that `torch.manual_seed(seed)` followed by peft's `get_peft_model` gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = attached.delta.install(attached.backbone.share(), attached.backbone)
    return attached.layout.flatten(dict(model.named_parameters())).detach().clone()
