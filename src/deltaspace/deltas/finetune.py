"""Fine-tuning as a delta (arXiv 2210.13311, section 3): the PLM's own parameters, all of them or those that match a pattern."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from deltaspace.deltas.checkpoint import CheckpointCard, write_model
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


@DELTAS.register
class Finetune(Delta):
    """The PLM's own parameters, all or some."""

    name: ClassVar[str] = "finetune"
    large: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"

    parameters: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="patterns of parameter names, such as *.attention.*"
    )
    lr_factor: float = Field(default=0.05, gt=0, description="the independent solutions' learning rate times this")

    @property
    def rate(self) -> float:
        return self.lr_factor

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        names = [
            name
            for name, parameter in model.named_parameters()
            if parameter.is_floating_point() and any(fnmatchcase(name, pattern) for pattern in self.parameters)
        ]
        if not names:
            raise DeltaspaceError(
                f"finetune: no parameter of {backbone.name} matches {', '.join(self.parameters)}",
                found=", ".join([name for name, _ in model.named_parameters()][:3]) + ", …",
                mend="give patterns that match: {finetune: {parameters: ['*']}}",
            )
        return model, names

    @torch.no_grad()
    def merge(self, attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> PreTrainedModel:
        model = copy.deepcopy(attached.backbone.model)
        weights = dict(model.named_parameters())
        for name, part in attached.layout.split(parameters).items():
            weights[name].copy_(part)
        return model

    def write(self, attached: AttachedDelta, parameters: Float[Tensor, " params"], folder: Path) -> CheckpointCard:
        return write_model(self.merge(attached, parameters), attached.backbone.tokenizer, folder)

    def read(
        self, attached: AttachedDelta, folders: Sequence[Path], *, same_base: bool = False
    ) -> list[Float[Tensor, " params"]]:
        return [self._read(attached, folder) for folder in folders]

    def _read(self, attached: AttachedDelta, folder: Path) -> Float[Tensor, " params"]:
        plm = attached.backbone.model
        options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
        try:
            model, info = load_pretrained(type(plm), folder, **options)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise DeltaspaceError(
                f"{folder} does not fit {attached.name}",
                found=first_line(error),
                expected=f"weights of a {type(plm).__name__} as safetensors, of the shapes of {attached.backbone.name}",
            ) from None
        if missing := sorted(info["missing_keys"]):
            raise DeltaspaceError(
                f"{folder} does not fit {attached.name}",
                found=f"{missing[0]} is missing",
                expected=f"all weights of a {type(plm).__name__}",
            )
        weights = {name: parameter.detach().to(plm.device) for name, parameter in model.named_parameters()}
        tuned = {name for name, _ in attached.layout.entries}
        for name, parameter in plm.named_parameters():
            if name not in tuned and not weights[name].equal(parameter):
                raise DeltaspaceError(
                    f"{folder} has another fixed part than {attached.name}",
                    found=f"{name} is not that of {attached.backbone.name}",
                    expected=f"a model that differs in parameters that match {', '.join(self.parameters)} alone",
                )
        return attached.layout.flatten(weights)
