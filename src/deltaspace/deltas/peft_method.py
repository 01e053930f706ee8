"""Any method of peft by its own configuration: what peft trains is the delta's vector."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from deltaspace.deltas.delta import Delta
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone


class Peft(Delta):
    """A method of peft, put into the model by peft itself.

    Parameters that peft shares between modules stand once in the vector; what it draws and does not train (indices, projections)
    is drawn with the initial vector and stays.
    """

    name: ClassVar[str] = "peft"
    source: ClassVar[str] = "https://github.com/huggingface/peft"

    method: str = Field(description="a name of peft's PeftType")
    settings: dict[str, Any] = Field({}, description="of its configuration; target_modules are query and value by default")

    def install(self, model: PreTrainedModel, backbone: Backbone) -> list[str]:
        from peft import get_peft_model
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

        known = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        if self.method not in known:
            raise DeltaspaceError(f"peft has no method {self.method!r}", expected=", ".join(sorted(known)))
        settings = dict(self.settings)
        settings.setdefault("target_modules", TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.model_type))
        try:
            with warnings.catch_warnings():
                # Of transformers, about how peft asks it things.
                warnings.simplefilter("ignore", FutureWarning)
                # It changes the model in place; some methods need more than peft's inject_adapter_in_model.
                get_peft_model(model, known[self.method](**settings))
        except (ValueError, TypeError) as error:
            raise DeltaspaceError(
                f"peft's {self.method} does not fit {backbone.name}",
                found=str(error).splitlines()[0],
                expected="settings that peft takes for this model",
            ) from None
        return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
