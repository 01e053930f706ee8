"""Parameters of a delta as a checkpoint of their own, which loads without the subspace they came from.

- What peft made is written as peft writes it: `PeftModel.from_pretrained(model, folder)`.
- Adapters, prefixes and APET: `delta.safetensors` and `delta.json` (docs/format.md); `load_delta(folder, backbone)`.
- Fine-tuning, and any delta that can be added to the weights (`merge`): a plain model, `AutoModel.from_pretrained(folder)`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import Apet, AttachedDelta, Finetune, PeftBacked, read_delta
from deltaspace.deltas.apet import Entries
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage import read_json, read_tensors, replacing_folder, write_json, write_tensors, write_text
from deltaspace.storage import download
from deltaspace.storage import hub_name
from deltaspace.subspace.vectors import check_version

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

FORMAT = "deltaspace.delta/1"
_TENSORS, _DESCRIPTION = "delta.safetensors", "delta.json"


def export_delta(
    attached: AttachedDelta,
    parameters: Float[Tensor, " params"],
    folder: Path,
    *,
    merge: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a delta's parameters as a checkpoint.

    Args:
        attached: the delta.
        parameters: (n,), such as `subspace.decode` gives.
        folder: where to; made if need be.
        merge: add them to the PLM's weights and write a plain model.
        provenance: where they come from, for the model card.

    Raises:
        DeltaspaceError: the delta cannot be merged.
    """
    if merge or isinstance(attached.delta, Finetune):
        model = merged(attached, parameters)
        with replacing_folder(folder) as made:
            model.save_pretrained(made)
            attached.backbone.tokenizer.save_pretrained(made)
            library, loads = "transformers", f'AutoModel.from_pretrained("{folder.name}")'
            write_text(made / "README.md", _card(attached, "A model", library, loads, provenance or {}))
        return folder
    with replacing_folder(folder) as made:
        if isinstance(attached.delta, PeftBacked):
            as_peft(attached, parameters).save_pretrained(made)
            library, loads = "peft", f'PeftModel.from_pretrained(model, "{folder.name}")'
        else:
            save_delta(attached, parameters, made)
            library, loads = "deltaspace", f'deltaspace.load_delta("{folder.name}", backbone)'
        write_text(made / "README.md", _card(attached, f"A {attached.name}", library, loads, provenance or {}))
    return folder


def as_peft(attached: AttachedDelta, parameters: Float[Tensor, " params"], model: PreTrainedModel | None = None) -> PeftModel:
    """peft's own model with these parameters, on `model` or else on the backbone's weights, which it shares.

    Raises:
        DeltaspaceError: the delta is not one of peft's.
    """
    delta, backbone = attached.delta, attached.backbone
    if not isinstance(delta, PeftBacked):
        raise DeltaspaceError(f"{attached.name} is not a method of peft")
    with attached.drawing():
        found = delta.wrap(backbone.share() if model is None else model, backbone)
    trained = [parameter for parameter in found.parameters() if parameter.requires_grad]
    for parameter, part in zip(trained, attached.layout.split(parameters).values(), strict=True):
        parameter.data.copy_(part)
    config = found.active_peft_config
    config.base_model_name_or_path = hub_name(backbone.name)
    return found.eval()


@torch.no_grad()
def merged(attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> PreTrainedModel:
    """A plain model: a copy of the PLM with the delta added to its weights.

    Raises:
        DeltaspaceError: the method adds more than weights can hold.
    """
    delta, backbone = attached.delta, attached.backbone
    if isinstance(delta, Finetune):
        model = copy.deepcopy(backbone.model)
        own = dict(model.named_parameters())
        for name, part in attached.layout.split(parameters).items():
            own[name].copy_(part)
        return model
    if isinstance(delta, Apet):
        model = copy.deepcopy(backbone.model)
        for name, values in attached.layout.split(parameters).items():
            place = name.removesuffix(".apet.values")
            entries, weight = attached.model.get_submodule(place).apet, model.get_submodule(place).weight
            assert isinstance(entries, Entries)
            weight.index_put_(entries.positions(), values.to(weight), accumulate=True)
        return model
    if isinstance(delta, PeftBacked):
        found = as_peft(attached, parameters, copy.deepcopy(backbone.model))
        if found.active_peft_config.is_prompt_learning:
            raise _unmergeable(attached, "it adds prompts to the input, no weights")
        try:
            plain: PreTrainedModel = found.merge_and_unload()
        except (AttributeError, NotImplementedError, ValueError) as error:  # how peft's methods say that they cannot
            raise _unmergeable(attached, first_line(error)) from error
        return plain
    raise _unmergeable(attached, "it puts functions into the model that are no matrix")


def _unmergeable(attached: AttachedDelta, why: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"{attached.name} cannot be merged into the model's weights",
        found=why,
        expected="a method that adds to weights, such as lora, apet or finetune",
        mend="export without --merge, or as another delta",
    )


def save_delta(attached: AttachedDelta, parameters: Float[Tensor, " params"], folder: Path) -> None:
    """Write `delta.safetensors`, every parameter by its name in the PLM, and `delta.json`; see docs/format.md."""
    description = {
        "format": FORMAT,
        "model": attached.backbone.name,
        "model_fingerprint": attached.backbone.fingerprint,
        "name": attached.name,
        "seed": attached.seed,
        "delta": attached.settings(),
        "layout": [[name, list(shape)] for name, shape in attached.layout.entries],
    }
    tensors = {name: part.clone() for name, part in attached.layout.split(parameters).items()}
    tensors |= {f"fixed/{name}": buffer for name, buffer in _fixed(attached).items()}
    write_tensors(folder / _TENSORS, tensors, {"format": FORMAT})
    write_json(folder / _DESCRIPTION, description)


def load_delta(name: str | Path, backbone: Backbone) -> tuple[AttachedDelta, Float[Tensor, " params"]]:
    """Read a checkpoint of `save_delta`, from a folder or the Hub.

    Returns:
        The delta on the PLM, and its parameters, (n,): `attached.call(parameters, lambda model: model(**inputs))`.

    Raises:
        DeltaspaceError: it is damaged, of another PLM, of a newer version, or no such checkpoint.
    """
    folder = download(name, _DESCRIPTION)
    found = read_json(folder / _DESCRIPTION)
    if not isinstance(found, dict) or str(found.get("format")).split("/")[0] != FORMAT.split("/")[0]:
        raise DeltaspaceError(f"{folder / _DESCRIPTION} is not of a delta", expected=FORMAT)
    check_version(folder / _DESCRIPTION, found["format"], FORMAT)
    if found["model_fingerprint"] != backbone.fingerprint:
        raise DeltaspaceError(
            f"{name} belongs to another model",
            found=f"{backbone.name}, {backbone.fingerprint[:12]}",
            expected=f"{found['model']}, {found['model_fingerprint'][:12]}",
        )
    attached = AttachedDelta(read_delta(found["name"], found["delta"], str(name)), backbone, found["seed"], found["name"])
    layout = [[name, list(shape)] for name, shape in attached.layout.entries]
    tensors, _ = read_tensors(folder / _TENSORS)
    if layout != found["layout"] or any(
        not own.equal(tensors[f"fixed/{key}"].to(own.device)) for key, own in _fixed(attached).items()
    ):
        raise DeltaspaceError(
            f"{name} does not fit the {found['name']} that this version makes", mend="load it with the version that wrote it"
        )
    return attached, attached.layout.flatten(tensors).to(backbone.device)


def _fixed(attached: AttachedDelta) -> dict[str, Tensor]:
    """What a delta draws and does not train."""
    shared = {id(buffer) for buffer in attached.backbone.model.buffers()}
    return {name: buffer for name, buffer in attached.model.named_buffers() if id(buffer) not in shared}


def _card(attached: AttachedDelta, what: str, library: str, loads: str, provenance: dict[str, Any]) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in provenance.items())
    return f"""---
library_name: {library}
base_model: {hub_name(attached.backbone.name)}
tags: [deltaspace]
---

# {what} for {attached.backbone.name}, decoded from a deltaspace subspace

| | |
| --- | --- |
| delta | {attached.name}, {attached.layout.size:,} parameters |
{rows}

    {loads}
"""
