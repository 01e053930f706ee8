"""Adapters: Houlsby et al. 2019 (arXiv 1902.00751), section 2.1.

After the attention and after the feed-forward sublayer, before the residual connection, a bottleneck is put into every layer:

    h <- h + up(silu(down(h))),    down: (bottleneck, hidden),    up: (hidden, bottleneck),    no bias

`up` starts at zero, so that the initial adapter changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from deltaspace.deltas.delta import Delta
from deltaspace.deltas.grouped import grouped_linear
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

# Where sublayers end: the last projection of the attention and of the feed-forward network, by model type.
SUBLAYERS: dict[str, tuple[str, ...]] = {
    "bart": ("self_attn.out_proj", "encoder_attn.out_proj", "fc2"),
    "bert": ("attention.output.dense", "output.dense"),
    "deberta-v2": ("attention.output.dense", "output.dense"),
    "distilbert": ("attention.out_lin", "ffn.lin2"),
    "electra": ("attention.output.dense", "output.dense"),
    "gpt2": ("attn.c_proj", "crossattention.c_proj", "mlp.c_proj"),
    "gpt_neox": ("attention.dense", "mlp.dense_4h_to_h"),
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "mbart": ("self_attn.out_proj", "encoder_attn.out_proj", "fc2"),
    "mistral": ("self_attn.o_proj", "mlp.down_proj"),
    "mpnet": ("attention.attn.o", "output.dense"),
    "mt5": ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense"),
    "opt": ("self_attn.out_proj", "fc2"),
    "qwen2": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj"),
    "roberta": ("attention.output.dense", "output.dense"),
    "t5": ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense"),
    "xlm-roberta": ("attention.output.dense", "output.dense"),
}
# Houlsby et al. 2019, section 2.1: near-identity initialization from a normal distribution of this deviation.
_DEVIATION = 0.01


@DELTAS.register
class Adapter(Delta):
    """Houlsby's bottleneck adapters."""

    name: ClassVar[str] = "adapter"
    grouped: ClassVar[bool] = True
    source: ClassVar[str] = "https://arxiv.org/abs/1902.00751"

    bottleneck: int = Field(default=8, ge=1, le=65_536, description="width of the bottleneck")
    modules: tuple[str, ...] | None = Field(
        default=None,
        description="name endings of the modules after which an adapter is put; by default known from the model's type",
    )

    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        hidden = model.config.hidden_size
        kind = model.config.model_type
        endings = self.modules or SUBLAYERS.get(kind)
        if endings is None:
            raise DeltaspaceError(
                f"adapter: the sublayers of a {kind} are not known",
                expected="one of " + ", ".join(SUBLAYERS),
                mend="name the modules that end the attention and the feed-forward sublayers: {adapter: {modules: […]}}",
            )
        sublayers = sublayer_ends(model, endings)
        if not sublayers:
            raise DeltaspaceError(
                f"adapter: no module of {backbone.name} ends in any of {', '.join(endings)}",
                mend="name modules that the model has: {adapter: {modules: […]}}",
            )
        names = []
        for sublayer in sublayers:
            module = model.get_submodule(sublayer)
            module.adapter = Bottleneck(hidden, self.bottleneck, next(backbone.model.parameters()))
            module.register_forward_hook(_through_adapter)
            names += [f"{sublayer}.adapter.down", f"{sublayer}.adapter.up"]
        return model, names


def sublayer_ends(model: nn.Module, endings: Sequence[str]) -> list[str]:
    """Names of the modules that end in any of some names, in the model's order."""
    return [name for name, _ in model.named_modules() if name.endswith(tuple(f".{ending}" for ending in endings))]


class Bottleneck(nn.Module):
    """h + up(silu(down(h))), or with an `up` and a `down` for each group of the batch.

    Args:
        hidden: width of the model.
        bottleneck: width between `down`, (bottleneck, hidden), and `up`, (hidden, bottleneck).
        like: a weight whose type and device they have.
    """

    def __init__(self, hidden: int, bottleneck: int, like: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(like.new_empty(bottleneck, hidden).cpu().normal_(std=_DEVIATION).to(like.device))
        self.up = nn.Parameter(like.new_zeros(hidden, bottleneck))

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
        return hidden + grouped_linear(F.silu(grouped_linear(hidden, self.down)), self.up)


def _through_adapter(module: Any, arguments: tuple[object, ...], output: Tensor) -> Tensor:
    return module.adapter(output)
