"""Checkpoints in: peft's own folders, here or on the Hugging Face Hub, as parameters of a delta. safetensors only.

Solutions can be decomposed together only as displacements from ONE initial vector. Where a method's initial values do not depend
on chance, or the seed they were drawn from is known, that is theta0; else it is the mean of the given checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.deltas.peft_method import BOOKKEEPING
from deltaspace.errors import DeltaspaceError
from deltaspace.checkpoints.export import as_peft
from deltaspace.storage import file_digest, read_json
from deltaspace.storage import download
from deltaspace.storage import hub_name

if TYPE_CHECKING:
    from peft import PeftModel

    from deltaspace.backbone import Backbone

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that fits.

    Args:
        name: as it was given.
        parameters: (n,).
        sha256: of its weights' file.
    """

    name: str
    parameters: Float[Tensor, " params"]
    sha256: str


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
    # One model for all of them: making it takes longer than reading.
    model = as_peft(attached, attached.initial)
    return [_read(name, attached, model, same_base) for name in names]


def _read(name: str, attached: AttachedDelta, model: PeftModel, same_base: bool) -> Checkpoint:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    folder = download(name, _CONFIG)
    _check_config(folder / _CONFIG, attached, model, same_base)
    path = folder / _WEIGHTS
    if not path.exists():
        found = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".safetensors"))
        raise DeltaspaceError(
            f"{folder} has no {_WEIGHTS}", found=", ".join(found) or "no weights", expected="safetensors; pickles are never read"
        )
    tensors, wanted = _tensors(path), get_peft_model_state_dict(model)
    for key in sorted(set(wanted) | set(tensors)):
        if key not in tensors or key not in wanted:
            has = f"{key} is {'missing' if key in wanted else 'in it'}"
            expected = f"the {len(wanted)} tensors of {attached.name}"
            raise DeltaspaceError(f"{path} does not fit {attached.name}", found=has, expected=expected)
        if tensors[key].shape != wanted[key].shape:
            raise DeltaspaceError(
                f"{path} does not fit {attached.name}",
                found=f"{key}, shape {list(tensors[key].shape)}",
                expected=f"shape {list(wanted[key].shape)}",
            )
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for key, tensor in wanted.items():
        if not _moves(key, trained) and not tensors[key].to(tensor).equal(tensor):
            raise DeltaspaceError(
                f"{path} has another fixed part than {attached.name}",
                found=f"{key} is not what this seed draws",
                expected="the same for all checkpoints and the study",
                mend="give the method's own seed in the recipe, as in the checkpoint's adapter_config.json",
            )
    set_peft_model_state_dict(model, tensors)
    after = get_peft_model_state_dict(model)
    if any(not after[key].equal(tensor.to(after[key])) for key, tensor in tensors.items()):
        raise DeltaspaceError(f"{path} does not hold the parameters of {attached.name}", found="only what they come to")
    parts = [parameter.detach().reshape(-1) for parameter in trained.values()]
    return Checkpoint(str(name), torch.cat(parts).clone(), file_digest(path))


def initial_for(
    attached: AttachedDelta, checkpoints: Sequence[Checkpoint], initial_seed: int | None
) -> tuple[Float[Tensor, " params"], str]:
    """theta0 for checkpoints from elsewhere, and how it was found (see the top of this file).

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
    """The initial values that `torch.manual_seed(seed)` followed by peft's `get_peft_model` gives."""
    delta = attached.delta
    assert isinstance(delta, PeftBacked)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = delta.wrap(attached.backbone.share(), attached.backbone)
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad]).clone()


def _moves(key: str, trained: dict[str, Any]) -> bool:
    # peft leaves the adapter's name out of the names that it writes; prompts are written as what they come to.
    return "prompt_embeddings" in key or any(name.replace(".default", "") == key for name in trained)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DeltaspaceError(f"{path} cannot be read", found=str(error), expected="a safetensors file") from None


def _check_config(path: Path, attached: AttachedDelta, model: PeftModel, same_base: bool) -> None:
    found, backbone = read_json(path), attached.backbone
    own = model.active_peft_config.to_dict()
    if not isinstance(found, dict):
        raise DeltaspaceError(f"{path} is not peft's", found=type(found).__name__, expected="a JSON object with peft_type")
    if found.get("peft_type") != own["peft_type"]:
        expected = str(own["peft_type"]).split(".")[-1]
        raise DeltaspaceError(f"{path} is of another method", found=found.get("peft_type"), expected=expected)
    base = found.get("base_model_name_or_path")
    if not same_base and base and not _same_model(str(base), backbone):
        raise DeltaspaceError(
            f"{path} is of another model",
            found=base,
            expected=hub_name(backbone.name),
            mend="if it is the same under another name, say so: --same-base",
        )
    for key, value in found.items():
        if key in BOOKKEEPING or key not in own or "dropout" in key or "init" in key:
            continue
        mine = own[key]
        one, other = (sorted(v) if isinstance(v, list | set | tuple) else v for v in (value, mine))
        if one != other and not (not one and not other):
            raise DeltaspaceError(
                f"{path} has other settings than {attached.name}",
                found=f"{key}: {one}",
                expected=f"{key}: {other}, as in the study's recipe",
                mend=f"write the delta in the recipe as it is there: {{peft: {path.parent}}}",
            )


def _same_model(base: str, backbone: Backbone) -> bool:
    return base.rstrip("/").split("/")[-1].lower() == hub_name(backbone.name).rstrip("/").split("/")[-1].lower()
