"""Any method of peft by its own configuration: what peft trains is the delta's vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from deltaspace.deltas.peft_backed import PeftBacked
from deltaspace.deltas.peft_checkpoint import without_warnings
from deltaspace.deltas.peft_fields import REFUSED, check_settings
from deltaspace.deltas.prompts import Prompted
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError, first_line

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


@DELTAS.register
class Peft(PeftBacked):
    """Any method of peft, by its own configuration: `{peft: IA3}`.

    Parameters that peft shares between modules stand once in the vector. What it draws and does not train (projections, indices,
    masks) is drawn with the initial vector from the same seed, is the same for every task, and goes into every export.
    """

    name: ClassVar[str] = "peft"
    source: ClassVar[str] = "https://github.com/huggingface/peft"

    peft: str = Field(description="a name of peft's PeftType, or a folder with adapter_config.json")
    lr_factor: float = Field(default=1.0, gt=0, description="the independent solutions' learning rate times this")
    settings: dict[str, Any] = Field(default={}, description="of its configuration")

    @property
    def rate(self) -> float:
        return self.lr_factor

    @property
    def title(self) -> str:
        return f"peft's {self.peft}"

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("settings") or {}, dict):
            return value
        # What is no field of ours is of peft's configuration, so that recipes need not nest it.
        fields = {key: entry for key, entry in value.items() if key in cls.model_fields}
        rest = {key: entry for key, entry in value.items() if key not in cls.model_fields}
        return {**fields, "settings": {**(fields.get("settings") or {}), **rest}}

    @model_validator(mode="after")
    def _harmless(self) -> Peft:
        check_settings(self.settings)
        return self

    def config(self, model: PreTrainedModel, backbone: Backbone) -> PeftConfig:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as LORA_MODULES

        known = {kind.value: kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
        if self.peft not in known:
            raise DeltaspaceError(f"peft has no method {self.peft!r}", expected=", ".join(sorted(known)))
        if self.peft in REFUSED:
            raise DeltaspaceError(f"{self.title} cannot be one vector: {REFUSED[self.peft]}", mend="choose another delta")
        kind = known[self.peft]
        config_class = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        settings = {"task_type": backbone.family.peft_task_type, **self.settings}
        if "target_modules" in config_class.__dataclass_fields__ and self.peft not in ("IA3", "ADAPTION_PROMPT"):
            targets = getattr(PEFT_TYPE_TO_TUNER_MAPPING.get(kind), "target_module_mapping", None) or {}
            model_type = model.config.model_type
            if self.peft == "LN_TUNING":
                settings.setdefault("target_modules", _norms(model))
            elif targets.get(model_type) is None:  # where peft has no default for a method, LoRA's serves
                settings.setdefault("target_modules", LORA_MODULES.get(model_type))
        config: PeftConfig = config_class(**settings)
        if config.is_prompt_learning:
            if self.peft == "PREFIX_TUNING" and model.config.is_encoder_decoder:
                raise DeltaspaceError(
                    "peft's PREFIX_TUNING does not reach an encoder-decoder as it should",
                    found=f"{backbone.name}: only the decoder would get a prefix, and half of the parameters no gradient",
                    mend="use the delta 'prefix', which stands before the attention of encoder and decoder",
                )
            # By default an encoder-decoder gets twice as many prompts, of which half are never used.
            config.num_transformer_submodules = 1
        return config

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        plm_parameters = {id(parameter) for parameter in model.parameters()}
        wrapped = self.wrap(model, backbone)
        prompts = wrapped.active_peft_config.is_prompt_learning
        installed: nn.Module = Prompted(wrapped) if prompts else model
        trained = {name: parameter for name, parameter in installed.named_parameters() if parameter.requires_grad}
        if borrowed := [name for name, parameter in trained.items() if id(parameter) in plm_parameters]:
            raise DeltaspaceError(
                f"{self.title} trains weights of the model itself",
                found=f"{len(borrowed)} of them, such as {borrowed[0]}",
                expected="parameters of its own",
                mend="use the delta 'finetune' for the model's own weights",
            )
        if not trained:
            raise DeltaspaceError(f"{self.title} has nothing to train in {backbone.name}")
        self._try(installed, backbone)
        return installed, list(trained)

    @torch.no_grad()
    def _try(self, model: nn.Module, backbone: Backbone) -> None:
        """Run the model once: what a method asks for beyond a text shows at its first step only."""
        ids = torch.arange(2, device=backbone.device).unsqueeze(0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if backbone.model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids
        try:
            with without_warnings():
                model(**inputs)
        except Exception as error:
            raise DeltaspaceError(
                f"{self.title} does not run in {backbone.name}",
                found=f"{type(error).__name__}: {first_line(error)}",
                expected="a method that needs nothing but a text, with settings that fit the model",
            ) from error


def _norms(model: PreTrainedModel) -> list[str]:
    """Last names of the model's normalization layers."""
    return sorted({name.split(".")[-1] for name, module in model.named_modules() if type(module).__name__.endswith("Norm")})
