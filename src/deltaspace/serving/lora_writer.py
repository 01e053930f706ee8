"""Decoded vectors as peft's LoRA folders, without the PLM's weights: names and shapes are had from its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas import Lora, Peft, PeftBacked, read_delta
from deltaspace.deltas.layout import Layout
from deltaspace.deltas.peft_checkpoint import WEIGHTS
from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_files import model_files
from deltaspace.storage import hub_name

if TYPE_CHECKING:
    from typing import Any

    from peft import PeftConfig

    from deltaspace.backbone import Backbone
    from deltaspace.subspace import Plm

_ADAPTER = ".default"


class LoraWriter:
    """Writes vectors of one LoRA.

    Args:
        name: what the delta is called in the subspace.
        settings: its own, as the subspace has them.
        plm: the subspace's.

    Raises:
        DeltaspaceError: it is no LoRA, or the PLM's folder is not there.
    """

    def __init__(self, name: str, settings: dict[str, Any], plm: Plm) -> None:
        delta = read_delta(name, settings, "the subspace")
        if not isinstance(delta, PeftBacked) or not (
            isinstance(delta, Lora) or (isinstance(delta, Peft) and delta.peft == "LORA")
        ):
            raise DeltaspaceError(
                f"{name} is no LoRA, which is all that servers take",
                found=delta.name,
                expected="a LoRA of the subspace",
                mend="write the task as one: deltaspace export SUBSPACE --task TASK --delta "
                f"{name} --as lora --inputs FILE -o FOLDER",
            )
        backbone = _skeleton(plm)
        with torch.device("meta"):
            wrapped = delta.wrap(backbone.model, backbone)
        trained = [(key, tuple(p.shape)) for key, p in wrapped.named_parameters() if p.requires_grad]
        self.layout = Layout(tuple((key.replace(_ADAPTER, ""), shape) for key, shape in trained))
        self.config: PeftConfig = wrapped.active_peft_config
        self.config.base_model_name_or_path = hub_name(plm.name)
        self.config.inference_mode = True

    @property
    def rank(self) -> int:
        """Of the largest of its updates."""
        return max(shape[0] for key, shape in self.layout.entries if ".lora_A." in key)

    @property
    def modules(self) -> list[str]:
        """Last names of the modules that it updates."""
        return sorted({key.split(".lora_")[0].split(".")[-1] for key, _ in self.layout.entries})

    def write(self, parameters: Float[Tensor, " params"], folder: Path) -> None:
        """Write parameters into an empty folder as peft does.

        Raises:
            DeltaspaceError: they are not as many as the LoRA has in this PLM.
        """
        from safetensors.torch import save_file

        if len(parameters) != self.layout.size:
            raise DeltaspaceError("the decoded LoRA does not fit the model", found=len(parameters), expected=self.layout.size)
        parts = {key: part.contiguous().clone() for key, part in self.layout.split(parameters.detach().cpu()).items()}
        save_file(parts, folder / WEIGHTS, metadata={"format": "pt"})
        self.config.save_pretrained(folder)


def _skeleton(plm: Plm) -> Backbone:
    """A PLM without weights: every tensor has a shape and no numbers."""
    from deltaspace.backbone import Backbone, supported
    from deltaspace.families import FAMILIES
    from deltaspace.pretrained import load_config, load_tokenizer, skeleton
    from deltaspace.products import Products

    folder, family = model_files(plm.name).folder, FAMILIES.find(plm.family)
    config, tokenizer = load_config(folder, f"model {plm.name}", supported()), load_tokenizer(folder, f"model {plm.name}")
    model = skeleton(family.auto_class(), config)
    return Backbone(plm.name, model, tokenizer, family(model, tokenizer, 1), plm.fingerprint, Products(model.device, "fp32"))
