"""Any method of peft by its own configuration: what peft trains is the delta's vector."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

# peft's task types by family: they decide how a checkpoint is loaded.
TASK_TYPES = {
    "encoder_decoder": "SEQ_2_SEQ_LM",
    "decoder": "CAUSAL_LM",
    "masked_encoder": "FEATURE_EXTRACTION",
    "sentence_encoder": "FEATURE_EXTRACTION",
}
# Methods of which no vector says it all, and why.
REFUSED = {
    "ADALORA": "it changes its ranks while it trains, for every task in another way",
    "CARTRIDGE": "it is made from a text's own keys and values, not from an initial vector",
    "CPT": "its prompts are the examples of one task",
    "MULTITASK_PROMPT_TUNING": "its model asks for a task number beside the text",
    "POLY": "its model asks for a task number beside the text",
    "XLORA": "it mixes LoRAs that are trained already",
}
# Entries of an adapter_config.json that are not of the method.
BOOKKEEPING = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")


class PeftBacked(Delta):
    """A delta that peft puts into the model, and whose checkpoints peft loads."""

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name

    @abstractmethod
    def config(self, model: PreTrainedModel, backbone: Backbone) -> PeftConfig:
        """peft's configuration, for this model."""

    def wrap(self, model: PreTrainedModel, backbone: Backbone) -> PeftModel:
        """`model`, changed in place, within peft's own class.

        Raises:
            DeltaspaceError: the method does not fit the model.
        """
        from peft import get_peft_model

        try:
            with warnings.catch_warnings():
                # Of transformers, about how peft asks it things; of peft, about what it chooses itself.
                warnings.simplefilter("ignore")
                found: PeftModel = get_peft_model(model, self.config(model, backbone))
        except DeltaspaceError:
            raise
        except Exception as error:  # every method of peft fails in its own way; the cause is kept and told
            raise DeltaspaceError(
                f"{self.title} does not fit {backbone.name}",
                found=first_line(error),
                expected="settings that peft takes for this model, such as target_modules: names of its linear modules",
            ) from error
        return found


class Peft(PeftBacked):
    """Any method of peft, by its own configuration: `{peft: IA3}`.

    Parameters that peft shares between modules stand once in the vector. What it draws and does not train (projections, indices,
    masks) is drawn with the initial vector from the same seed, is the same for every task, and goes into every export.
    """

    name: ClassVar[str] = "peft"
    source: ClassVar[str] = "https://github.com/huggingface/peft"

    peft: str = Field(description="a name of peft's PeftType, or a folder with adapter_config.json")
    lr_factor: float = Field(1.0, gt=0, description="the independent solutions' learning rate times this")
    settings: dict[str, Any] = Field({}, description="of its configuration")

    @property
    def rate(self) -> float:
        return self.lr_factor

    @property
    def title(self) -> str:
        return f"peft's {self.peft}"

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        own = {key: entry for key, entry in value.items() if key in cls.model_fields}
        rest = {key: entry for key, entry in value.items() if key not in cls.model_fields}
        return {**own, "settings": {**(own.get("settings") or {}), **rest}}

    def config(self, model: PreTrainedModel, backbone: Backbone) -> PeftConfig:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as LORA_MODULES

        known = {kind.value: kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
        if self.peft not in known:
            raise DeltaspaceError(f"peft has no method {self.peft!r}", expected=", ".join(sorted(known)))
        if self.peft in REFUSED:
            raise DeltaspaceError(f"{self.title} cannot be one vector: {REFUSED[self.peft]}", mend="choose another delta")
        kind = known[self.peft]
        made = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        settings = {"task_type": TASK_TYPES[backbone.family.name], **self.settings}
        if "target_modules" in made.__dataclass_fields__ and self.peft not in ("IA3", "ADAPTION_PROMPT"):
            own = getattr(PEFT_TYPE_TO_TUNER_MAPPING.get(kind), "target_module_mapping", None) or {}
            model_type = model.config.model_type
            if self.peft == "LN_TUNING":
                settings.setdefault("target_modules", _norms(model))
            elif own.get(model_type) is None:
                settings.setdefault("target_modules", LORA_MODULES.get(model_type))
        config: PeftConfig = made(**settings)
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
        own = {id(parameter) for parameter in model.parameters()}
        wrapped = self.wrap(model, backbone)
        prompts = wrapped.active_peft_config.is_prompt_learning
        # Here, because it imports much of transformers, which reading a recipe does not need.
        from deltaspace.deltas.prompts import Prompted

        found: nn.Module = Prompted(wrapped, backbone) if prompts else model
        trained = {name: parameter for name, parameter in found.named_parameters() if parameter.requires_grad}
        if borrowed := [name for name, parameter in trained.items() if id(parameter) in own]:
            raise DeltaspaceError(
                f"{self.title} trains weights of the model itself",
                found=f"{len(borrowed)} of them, such as {borrowed[0]}",
                expected="parameters of its own",
                mend="use the delta 'finetune' for the model's own weights",
            )
        if not trained:
            raise DeltaspaceError(f"{self.title} has nothing to train in {backbone.name}")
        self._try(found, backbone)
        return found, list(trained)

    @torch.no_grad()
    def _try(self, model: nn.Module, backbone: Backbone) -> None:
        """Run the model once: what a method asks for beyond a text shows at its first step only."""
        ids = torch.arange(2, device=backbone.device).unsqueeze(0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if backbone.model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids
        try:
            model(**inputs)
        except Exception as error:
            raise DeltaspaceError(
                f"{self.title} does not run in {backbone.name}",
                found=f"{type(error).__name__}: {first_line(error)}",
                expected="a method that needs nothing but a text, with settings that fit the model",
            ) from error


def peft_settings(folder: Path) -> dict[str, Any]:
    """A `Peft` delta's settings from a checkpoint's adapter_config.json; what is of one model or one moment is left out.

    Raises:
        DeltaspaceError: there is no such file, or it names no method of peft.
    """
    found = read_json(folder / "adapter_config.json")
    if not isinstance(found, dict) or not isinstance(found.get("peft_type"), str):
        raise DeltaspaceError(f"{folder / 'adapter_config.json'} is not peft's", expected="a JSON object with peft_type")
    own = {key: value for key, value in found.items() if key not in BOOKKEEPING and value is not None}
    return {"peft": own.pop("peft_type"), "settings": own}


def _norms(model: PreTrainedModel) -> list[str]:
    """Last names of the model's normalization layers."""
    return sorted({name.split(".")[-1] for name, module in model.named_modules() if type(module).__name__.endswith("Norm")})
