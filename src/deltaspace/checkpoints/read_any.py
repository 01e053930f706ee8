"""Checkpoints in, of any kind that this package reads: which kind, its files tell; of which PLM, it may say itself.

- peft's: adapter_config.json. Trained prompts are stored as the embeddings that they come to (P-tuning's, and a prefix's behind a
  network), without the network that they come from: for the function that they compute these are all, so that they are read as
  prompt tuning or as a plain prefix.
- ours: delta.json.
- a fine-tuned model: config.json; it does not say which PLM it was made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from deltaspace.checkpoints.load import load_delta
from deltaspace.deltas import AttachedDelta, Finetune, read_delta
from deltaspace.deltas.checkpoint import DESCRIPTION, read_description
from deltaspace.deltas.peft_checkpoint import CONFIG, WEIGHTS, peft_settings, read_weights, same_model
from deltaspace.deltas.peft_fields import REFUSED
from deltaspace.errors import DeltaspaceError
from deltaspace.model_files import CONFIG as MODEL_CONFIG
from deltaspace.storage import download, hub_name, read_json

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone

_PROMPTS = "prompt_embeddings"
_KINDS = f"{CONFIG} (peft's), {DESCRIPTION} (deltaspace's) or {MODEL_CONFIG} (a fine-tuned model's)"


def base_of(name: str | Path) -> str:
    """The PLM that a checkpoint says it is of.

    Raises:
        DeltaspaceError: it is no checkpoint, or does not say so.
    """
    folder, kind = _kind(name)
    base: object = None
    if kind == DESCRIPTION:
        base = read_description(folder).model
    elif kind == CONFIG:
        config = read_json(folder / CONFIG)
        base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise DeltaspaceError(f"{name} does not say which model it was made from", mend="name that: --model MODEL")
    return base


def load_tuned(
    name: str | Path, backbone: Backbone, *, same_base: bool = False
) -> tuple[AttachedDelta, Float[Tensor, " params"]]:
    """Read a checkpoint of any kind.

    Args:
        name: a folder, or owner/name on the Hub.
        backbone: the PLM that it is of.
        same_base: that is its PLM, whatever a checkpoint of peft calls it.

    Returns:
        The delta on the PLM, and its parameters, (n,).

    Raises:
        DeltaspaceError: it is no checkpoint, damaged, of another PLM, or of a method that is not read.
    """
    folder, kind = _kind(name)
    if kind == DESCRIPTION:
        return load_delta(folder, backbone)
    if kind == MODEL_CONFIG:
        attached = AttachedDelta(Finetune(), backbone)
    else:
        _refuse(folder)
        settings = peft_settings(folder)
        if (plain := _without_network(settings)) is not None:
            return _prompts(folder, plain, backbone, same_base)
        attached = _attached(settings, folder, backbone)
    [parameters] = attached.delta.read(attached, [folder], same_base=same_base)
    return attached, parameters


def _refuse(folder: Path) -> None:
    """Raise DeltaspaceError where a checkpoint is of a method that no vector says: before its settings are looked at."""
    config = read_json(folder / CONFIG)
    method = config.get("peft_type") if isinstance(config, dict) else None
    if method in REFUSED:
        raise DeltaspaceError(
            f"{folder}: peft's {method} cannot be one vector: {REFUSED[method]}", mend="take a checkpoint of another method"
        )


def _attached(settings: dict[str, Any], folder: Path, backbone: Backbone) -> AttachedDelta:
    name = str(settings["peft"]).lower()
    return AttachedDelta(read_delta(name, settings, str(folder / CONFIG)), backbone, name=name)


def _without_network(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Of trained prompts that come from a network the method that has them as they are; None of anything else."""
    method, config = settings["peft"], settings["settings"]
    if (method == "PREFIX_TUNING" and not config.get("prefix_projection")) or method not in ("P_TUNING", "PREFIX_TUNING"):
        return None
    rest = {key: value for key, value in config.items() if not key.startswith(("encoder_", "prefix_projection"))}
    return {"peft": "PREFIX_TUNING" if method == "PREFIX_TUNING" else "PROMPT_TUNING", "settings": rest}


def _prompts(
    folder: Path, settings: dict[str, Any], backbone: Backbone, same_base: bool
) -> tuple[AttachedDelta, Float[Tensor, " params"]]:
    attached, path, expected = _attached(settings, folder, backbone), folder / WEIGHTS, base_of(folder)
    if not same_base and not same_model(expected, backbone):
        raise DeltaspaceError(
            f"{folder / CONFIG} is of another model",
            found=expected,
            expected=hub_name(backbone.name),
            mend="if it is the same under another name, say so: --same-base",
        )
    tensors, (_, shape) = read_weights(path), attached.layout.entries[0]
    if list(tensors) != [_PROMPTS] or tuple(tensors[_PROMPTS].shape) != shape or not tensors[_PROMPTS].isfinite().all():
        present = ", ".join(f"{name} (shape {list(tensor.shape)})" for name, tensor in tensors.items())
        raise DeltaspaceError(
            f"{path} does not fit {attached.name}",
            found=present,
            expected=f"{_PROMPTS} (shape {list(shape)}), finite",
            mend="take the checkpoint's files anew, from where they were written",
        )
    return attached, tensors[_PROMPTS].reshape(-1).to(attached.initial)


def _kind(name: str | Path) -> tuple[Path, str]:
    """The folder of a checkpoint, and the file that tells its kind."""
    folder = Path(name).expanduser()
    for kind in (DESCRIPTION, CONFIG, MODEL_CONFIG):
        if (folder / kind).is_file():
            return folder, kind
    if folder.exists():
        held = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else ["a file"]
        raise DeltaspaceError(
            f"{name} is no checkpoint",
            found=", ".join(held) or "an empty folder",
            expected=f"a folder with {_KINDS}",
            mend="name the folder in which one of them is",
        )
    try:
        return download(name, CONFIG), CONFIG
    except DeltaspaceError:
        return download(name, DESCRIPTION), DESCRIPTION
