"""LoRA: Hu et al. 2021 (arXiv 2106.09685), equation 3, through peft's own LoraConfig.

    W x <- W x + (alpha / r) B A x,    A: (r, in),    B: (out, r)

B starts at zero, so that the initial LoRA changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn

from deltaspace.deltas.grouped import GroupedLinear
from deltaspace.deltas.peft_backed import PeftBacked
from deltaspace.deltas.registry import DELTAS

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


@DELTAS.register
class Lora(PeftBacked):
    """Low-rank updates of the query and value projections (or of other linear modules)."""

    name: ClassVar[str] = "lora"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/2106.09685"

    r: int = Field(default=8, ge=1, le=65_536, description="rank")
    alpha: float = Field(default=16.0, gt=0, description="the update is scaled by alpha / r")
    target_modules: tuple[str, ...] | None = Field(
        default=None,
        description="name endings of the modules that are updated; by default peft's for the model's type: query and value",
    )

    def config(self, model: PreTrainedModel, backbone: Backbone) -> LoraConfig:
        """peft's configuration of this LoRA."""
        from peft import LoraConfig

        modules = list(self.target_modules) if self.target_modules else None
        return LoraConfig(r=self.r, lora_alpha=self.alpha, target_modules=modules, task_type=backbone.family.peft_task_type)

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        self.wrap(model, backbone)
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        for name in names:
            # peft's layers multiply by one A and one B; these may have an A and a B for each part of the batch.
            module = name.removesuffix(".weight")
            linear = model.get_submodule(module)
            grouped = GroupedLinear(linear.in_features, linear.out_features, bias=False, device="meta")
            grouped.weight = linear.weight
            model.set_submodule(module, grouped)
        return model, names
