"""Fine-tuning as a delta (arXiv 2210.13311, section 3): the PLM's own parameters, all of them or those that match a pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


class Finetune(Delta):
    """The PLM's own parameters, all or some."""

    name: ClassVar[str] = "finetune"
    large: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"

    parameters: tuple[str, ...] = Field(("*",), min_length=1, description="patterns of parameter names, such as *.attention.*")
    lr_factor: float = Field(0.05, gt=0, description="the independent solutions' learning rate times this")

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
