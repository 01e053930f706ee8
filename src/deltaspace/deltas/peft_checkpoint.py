"""peft's checkpoints, read strictly: what does not fit the delta to the last entry is refused. safetensors only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.peft_fields import check_known, without_defaults
from deltaspace.errors import DeltaspaceError
from deltaspace.model_files import listed, not_finite
from deltaspace.storage import hub_name, read_json

if TYPE_CHECKING:
    from peft import PeftModel

    from deltaspace.backbone import Backbone
    from deltaspace.deltas.delta import AttachedDelta

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_AGAIN = "download it again, or copy it from where it is whole"
# Entries of an adapter_config.json that are not of the method.
BOOKKEEPING = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without what peft warns of (defaults that it chooses itself, vocabularies that it cannot look up on the Hub), transformers
    (attributes that peft asks it for) and torch (sparse tensors that peft makes).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def peft_settings(folder: Path) -> dict[str, Any]:
    """A `Peft` delta's settings from a checkpoint's adapter_config.json; what is of one model or one moment is left out.

    Raises:
        DeltaspaceError: there is no such file, or it names no method of peft, or has settings that may load or run something.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise DeltaspaceError(f"{folder / CONFIG} is not peft's", expected="a JSON object with peft_type", mend=_AGAIN)
    method, settings = method_settings(config)
    check_known(settings, str(folder / CONFIG))
    return {"peft": method, "settings": settings}


def method_settings(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Of which method a configuration of peft's is, and what it says of it; what is of one model or one moment is left out."""
    settings = without_defaults({key: value for key, value in config.items() if key not in BOOKKEEPING and value is not None})
    return settings.pop("peft_type"), settings


def read_peft_checkpoint(
    folder: Path, attached: AttachedDelta, model: PeftModel, *, same_base: bool = False
) -> Float[Tensor, " params"]:
    """The parameters, (n,), of a folder that peft wrote.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.
        attached: the delta that it must be of.
        model: peft's model of that delta, on any weights; it takes the checkpoint's parameters.
        same_base: the checkpoint's model is the backbone, whatever its configuration calls it.

    Raises:
        DeltaspaceError: it is of another model or method, has other settings, names or shapes, or does not hold the method's
            parameters.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    _check_config(folder / CONFIG, attached, model, same_base)
    path = folder / WEIGHTS
    if not path.exists():
        weights = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".safetensors"))
        raise DeltaspaceError(
            f"{folder} has no {WEIGHTS}",
            found=", ".join(weights) or "no weights",
            expected="safetensors; pickles are never read",
            mend="write it with a current peft, whose save_pretrained(folder) makes safetensors",
        )
    tensors = read_weights(path)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with without_warnings():
        expected = get_peft_model_state_dict(model)
        _check_tensors(path, tensors, expected, trained, attached.name)
        set_peft_model_state_dict(model, tensors)
        after = get_peft_model_state_dict(model)
    if any(not after[key].equal(tensor.to(after[key])) for key, tensor in tensors.items()):
        raise DeltaspaceError(
            f"{path} does not hold the parameters of {attached.name}",
            found="only what they come to",
            mend="convert it: deltaspace convert",
        )
    return torch.cat([parameter.detach().reshape(-1) for parameter in trained]).clone()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that peft wrote.

    Raises:
        DeltaspaceError: it is missing or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DeltaspaceError(f"{path} cannot be read", found=str(error), expected="a safetensors file", mend=_AGAIN) from None


def _check_tensors(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], trained: Sequence[Tensor], delta: str
) -> None:
    """Raise DeltaspaceError unless the tensors have the expected names and shapes, and those that no training changes, their
    values too.
    """
    # By where they lie in memory, because peft writes parameters under other names than its model has. Prompts are written as the
    # embeddings that they come to.
    lie_at = {parameter.data_ptr() for parameter in trained}
    fixed = {key for key, tensor in expected.items() if tensor.data_ptr() not in lie_at and "prompt_embeddings" not in key}
    wrong = {
        "missing": [key for key in expected if key not in tensors],
        "in it": [key for key in tensors if key not in expected],
        "of another shape": [
            f"{key} (shape {list(tensors[key].shape)}, not {list(expected[key].shape)})"
            for key in expected
            if key in tensors and tensors[key].shape != expected[key].shape
        ],
        "not finite (NaN or infinite)": not_finite(tensors),
    }
    if faults := [f"{listed(sorted(keys))} {'is' if len(keys) == 1 else 'are'} {how}" for how, keys in wrong.items() if keys]:
        raise DeltaspaceError(
            f"{path} does not fit {delta}",
            found="; ".join(faults),
            expected=f"the {len(expected)} tensors of {delta}, finite",
            mend="take a checkpoint of these settings, whole; nothing is drawn at random",
        )
    for key in sorted(fixed):
        if not tensors[key].to(expected[key]).equal(expected[key]):
            raise DeltaspaceError(
                f"{path} has another fixed part than {delta}",
                found=f"{key} is not what this seed draws",
                expected="the same for all checkpoints and the study",
                mend="give the method's own seed in the recipe, as in the checkpoint's adapter_config.json",
            )


def _check_config(path: Path, attached: AttachedDelta, model: PeftModel, same_base: bool) -> None:
    config, backbone = read_json(path), attached.backbone
    expected = model.active_peft_config.to_dict()
    if not isinstance(config, dict):
        raise DeltaspaceError(
            f"{path} is not peft's", found=type(config).__name__, expected="a JSON object with peft_type", mend=_AGAIN
        )
    given = {key: value for key, value in config.items() if key not in BOOKKEEPING and key != "peft_type" and value is not None}
    check_known(without_defaults(given), str(path))
    if config.get("peft_type") != expected["peft_type"]:
        raise DeltaspaceError(
            f"{path} is of another method",
            found=config.get("peft_type"),
            expected=str(expected["peft_type"]).split(".")[-1],
            mend="name a checkpoint of that method, or a delta of the recipe that is of this one: --delta",
        )
    base = config.get("base_model_name_or_path")
    if not same_base and base and not same_model(str(base), backbone):
        raise DeltaspaceError(
            f"{path} is of another model",
            found=base,
            expected=hub_name(backbone.name),
            mend="if it is the same under another name, say so: --same-base",
        )
    for key, value in config.items():
        # How parameters began and what training dropped changes nothing in what they are.
        if key in BOOKKEEPING or "dropout" in key or "init" in key:
            continue
        if key not in expected:
            # peft would leave it out with a warning.
            if value and (key, value) != ("megatron_core", "megatron.core"):
                raise DeltaspaceError(
                    f"{path} has a setting that this version of peft does not know of {config['peft_type']}",
                    found=f"{key}: {value!r}"[:200],
                    mend="install the version of peft that wrote it, or remove the setting there if it changes nothing",
                )
            continue
        theirs, ours = (sorted(v) if isinstance(v, list | set | tuple) else v for v in (value, expected[key]))
        # Nothing is written as null, [], {} or false by different versions of peft.
        if theirs != ours and not (not theirs and not ours):
            raise DeltaspaceError(
                f"{path} has other settings than {attached.name}",
                found=f"{key}: {theirs}",
                expected=f"{key}: {ours}, as in the study's recipe",
                mend=f"write the delta in the recipe as it is there: {{peft: {path.parent}}}",
            )


def same_model(base: str, backbone: Backbone) -> bool:
    """Whether two names are of the same model: owners and folders differ between machines."""
    return base.rstrip("/").split("/")[-1].lower() == hub_name(backbone.name).rstrip("/").split("/")[-1].lower()
