"""Fine-tuning as a delta (arXiv 2210.13311, section 3): the PLM's own parameters, all of them or those that match a pattern."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from deltaspace.deltas.checkpoint import CheckpointCard, write_model
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.pretrained import load_config, load_model

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
        refused = f"{folder} does not fit {attached.name}"
        config = load_config(folder, str(folder), f"a {type(plm).__name__}")
        model = load_model(type(plm), config, folder, refused, unused=attached.backbone.family.unused)
        weights = {name: parameter.detach().to(plm.device) for name, parameter in model.named_parameters()}
        shapes = {name: list(weight.shape) for name, weight in weights.items()}
        expected = {name: list(parameter.shape) for name, parameter in plm.named_parameters()}
        if other := [name for name in {**expected, **shapes} if shapes.get(name) != expected.get(name)]:
            raise DeltaspaceError(
                refused,
                found=f"{counted(len(other), 'weight')} of another shape, such as {other[0]}: {shapes.get(other[0], 'missing')}",
                expected=f"{expected.get(other[0], 'none')}, as in {attached.backbone.name}",
                mend=f"take a model that was tuned from {attached.backbone.name}",
            )
        tuned = {name for name, _ in attached.layout.entries}
        for name, parameter in plm.named_parameters():
            if name not in tuned and not weights[name].equal(parameter):
                raise DeltaspaceError(
                    f"{folder} has another fixed part than {attached.name}",
                    found=f"{name} is not that of {attached.backbone.name}",
                    expected=f"a model that differs in parameters that match {', '.join(self.parameters)} alone",
                    mend="widen the delta's 'parameters' in the recipe, or take a model that was tuned in these alone",
                )
        return attached.layout.flatten(weights)
