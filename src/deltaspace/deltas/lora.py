"""LoRA: Hu et al. 2021 (arXiv 2106.09685), equation 3, through peft's own LoraConfig.

    W x <- W x + (alpha / r) B A x,    A: (r, in),    B: (out, r)

B starts at zero, so that the initial LoRA changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deltaspace.deltas.delta import Delta
from deltaspace.deltas.grouped import GroupedLinear
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


class Lora(Delta):
    """Low-rank updates of the query and value projections (or of other linear modules)."""

    name: ClassVar[str] = "lora"
    source: ClassVar[str] = "https://arxiv.org/abs/2106.09685"

    r: int = Field(8, ge=1, description="rank")
    alpha: float = Field(16.0, gt=0, description="the update is scaled by alpha / r")
    target_modules: tuple[str, ...] | None = Field(
        None, description="name endings of the modules that are updated; by default peft's for the model's type: query and value"
    )

    def config(self) -> LoraConfig:
        """peft's configuration of this LoRA."""
        from peft import LoraConfig

        modules = list(self.target_modules) if self.target_modules else None
        return LoraConfig(r=self.r, lora_alpha=self.alpha, target_modules=modules)

    def install(self, model: PreTrainedModel, backbone: Backbone) -> list[str]:
        from peft import inject_adapter_in_model

        try:
            inject_adapter_in_model(self.config(), model)
        except ValueError as error:
            raise DeltaspaceError(
                f"lora: {backbone.name} has no such modules",
                found=str(error).splitlines()[0],
                expected="names of linear modules of the model",
                mend="name them: {lora: {target_modules: […]}}",
            ) from None
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        for name in names:
            # peft's own layers apply A and B; ours let their weights have groups.
            place = name.removesuffix(".weight")
            linear = model.get_submodule(place)
            grouped = GroupedLinear(linear.in_features, linear.out_features, bias=False, device="meta")
            grouped.weight = linear.weight
            model.set_submodule(place, grouped)
        return names
