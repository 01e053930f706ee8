"""A delta's checkpoint in deltaspace's format (docs/format.md), which every delta has that declares none of its own.

`delta.safetensors` has every parameter by its name in the PLM; `delta.json` says which delta it is, on which model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, read_tensors, write_json, write_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from deltaspace.backbone import Backbone
    from deltaspace.deltas.delta import AttachedDelta

FORMAT = "deltaspace.delta/1"
DESCRIPTION = "delta.json"
_TENSORS = "delta.safetensors"


@dataclass(frozen=True)
class CheckpointCard:
    """What a model card says of the checkpoint beside it.

    Args:
        title: what it is: `A lora`.
        library: the one that loads it, by its name on the Hugging Face Hub.
        loading: the line of Python that loads it; `{folder}` stands for the folder's name.
    """

    title: str
    library: str
    loading: str


def write_checkpoint(attached: AttachedDelta, parameters: Float[Tensor, " params"], folder: Path) -> CheckpointCard:
    """Write parameters, (n,), with what the delta draws and does not train, and the description."""
    tensors = {name: part.clone() for name, part in attached.layout.split(parameters).items()}
    tensors |= {f"fixed/{name}": buffer for name, buffer in _fixed(attached).items()}
    write_tensors(folder / _TENSORS, tensors, {"format": FORMAT})
    write_description(attached, folder)
    return CheckpointCard(f"A {attached.name}", "deltaspace", 'deltaspace.load_delta("{folder}", backbone)')


def read_checkpoint(attached: AttachedDelta, folder: Path, *, same_base: bool = False) -> Float[Tensor, " params"]:
    """The parameters, (n,), of a checkpoint of `write_checkpoint`.

    Args:
        attached: the delta that it must be of.
        folder: where it is.
        same_base: its model is this one, whatever its description says.

    Raises:
        DeltaspaceError: it is damaged, of another PLM, of a newer version, or does not fit the delta.
    """
    description = read_description(folder)
    if not same_base:
        check_base(folder, description, attached.backbone)
    tensors, _ = read_tensors(folder / _TENSORS)
    if _layout(attached) != description["layout"] or any(
        f"fixed/{name}" not in tensors or not buffer.equal(tensors[f"fixed/{name}"].to(buffer.device))
        for name, buffer in _fixed(attached).items()
    ):
        raise DeltaspaceError(
            f"{folder} does not fit the {description['name']} that this version makes",
            mend="load it with the version that wrote it",
        )
    return attached.layout.flatten(tensors).to(attached.backbone.device)


def write_description(attached: AttachedDelta, folder: Path) -> None:
    """Write `delta.json`, by which `load_delta` knows the delta. A delta with tensors in a format of its own writes it, too."""
    description = {
        "format": FORMAT,
        "model": attached.backbone.name,
        "model_fingerprint": attached.backbone.fingerprint,
        "name": attached.name,
        "seed": attached.seed,
        "delta": attached.settings(),
        "layout": _layout(attached),
    }
    write_json(folder / DESCRIPTION, description)


def read_description(folder: Path) -> dict[str, Any]:
    """The `delta.json` in a folder.

    Raises:
        DeltaspaceError: there is none, or it is of a newer version.
    """
    path = folder / DESCRIPTION
    description = read_json(path)
    kind, version = FORMAT.split("/")
    if not isinstance(description, dict) or str(description.get("format")).split("/")[0] != kind:
        raise DeltaspaceError(f"{path} is not of a delta", expected=FORMAT)
    if int(description["format"].split("/")[1]) > int(version):
        raise DeltaspaceError(
            f"{path} was written by a newer deltaspace",
            found=description["format"],
            expected=f"{FORMAT} or older",
            mend="pip install -U deltaspace",
        )
    return description


def check_base(checkpoint: str | Path, description: Mapping[str, Any], backbone: Backbone) -> None:
    """Raise DeltaspaceError where a checkpoint with this description is of another PLM than the backbone."""
    if description["model_fingerprint"] != backbone.fingerprint:
        raise DeltaspaceError(
            f"{checkpoint} belongs to another model",
            found=f"{backbone.name}, {backbone.fingerprint[:12]}",
            expected=f"{description['model']}, {description['model_fingerprint'][:12]}",
        )


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> CheckpointCard:
    """Write a plain model, which any program that knows transformers loads."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CheckpointCard("A model", "transformers", 'AutoModel.from_pretrained("{folder}")')


def unmergeable(name: str, why: str) -> DeltaspaceError:
    """What is raised where a delta cannot be added to the PLM's weights."""
    return DeltaspaceError(
        f"{name} cannot be merged into the model's weights",
        found=why,
        expected="a method that adds to weights, such as lora, apet or finetune",
        mend="export without --merge, or as another delta",
    )


def _layout(attached: AttachedDelta) -> list[list[object]]:
    """The layout as JSON has it."""
    return [[name, list(shape)] for name, shape in attached.layout.entries]


def _fixed(attached: AttachedDelta) -> dict[str, Tensor]:
    """What a delta draws and does not train."""
    shared = {id(buffer) for buffer in attached.backbone.model.buffers()}
    return {name: buffer for name, buffer in attached.model.named_buffers() if id(buffer) not in shared}
