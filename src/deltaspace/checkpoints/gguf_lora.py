"""A LoRA as one GGUF file, which llama.cpp puts on the GGUF file of its model: `llama-cli -m model.gguf --lora lora.gguf`.

    W x <- W x + (alpha / r) B A x,    A: (r, in),    B: (out, r)

r is read from each A, and alpha stands once in the file. `general.type` is adapter, `adapter.type` lora; the factors of a matrix
`blk.0.attn_q.weight` are `blk.0.attn_q.weight.lora_a` and `….lora_b`, in fp32. Rows of B lie as those of the matrix do in the
model's own GGUF file: Llama's queries and keys are rotated there by pairs of neighbors, in transformers by the halves of a head.

Format: https://github.com/ggml-org/llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_header import check_package, check_replaceable
from deltaspace.model_files import listed
from deltaspace.storage import hub_name, replacing

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# peft's own names.
_ADAPTER, _WRAPPED = "default", "base_model.model."
_HEAD = "lm_head"


@dataclass(frozen=True)
class _Architecture:
    """How llama.cpp has a model of transformers.

    Args:
        name: `general.architecture`.
        by_neighbors: whether queries and keys are rotated by pairs of neighbors.
    """

    name: str
    by_neighbors: bool = False


_ARCHITECTURES = {
    "Gemma2ForCausalLM": _Architecture("gemma2"),
    "Gemma3ForCausalLM": _Architecture("gemma3"),
    "GemmaForCausalLM": _Architecture("gemma"),
    "LlamaForCausalLM": _Architecture("llama", by_neighbors=True),
    "MistralForCausalLM": _Architecture("llama", by_neighbors=True),
    "Olmo2ForCausalLM": _Architecture("olmo2"),
    "Phi3ForCausalLM": _Architecture("phi3"),
    "Qwen2ForCausalLM": _Architecture("qwen2"),
    "Qwen3ForCausalLM": _Architecture("qwen3"),
    "StableLmForCausalLM": _Architecture("stablelm"),
    "Starcoder2ForCausalLM": _Architecture("starcoder2"),
}


@dataclass(frozen=True)
class GgufLora:
    """What is in such a file.

    Args:
        architecture: as llama.cpp calls it.
        alpha: every update is scaled by alpha / r.
        tensors: by their names in the file.
    """

    architecture: str
    alpha: float
    tensors: Mapping[str, Float[Tensor, "rows columns"]]


def gguf_lora(attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> GgufLora:
    """A LoRA as llama.cpp has it. Where updates are scaled otherwise than by one alpha / r, B is multiplied by what differs.

    Args:
        attached: the LoRA: the delta `lora`, or peft's with rsLoRA's scale, or patterns of ranks and alphas.
        parameters: (n,).

    Raises:
        DeltaspaceError: it is no LoRA or more than one, or llama.cpp does not know the model or a matrix of it; or the package
            gguf is not installed.
    """
    check_package(f"{attached.name} cannot be written as a GGUF file")
    from gguf.constants import MODEL_ARCH_NAMES
    from gguf.tensor_mapping import get_tensor_name_map

    model = attached.backbone.model
    architecture = _ARCHITECTURES.get(type(model).__name__)
    if architecture is None:
        raise DeltaspaceError(
            f"no GGUF file can be made of a LoRA of {attached.backbone.name}",
            found=type(model).__name__,
            expected=", ".join(_ARCHITECTURES),
            mend="name a folder, which becomes peft's, and convert that with llama.cpp's convert_lora_to_gguf.py",
        )
    [number] = [number for number, name in MODEL_ARCH_NAMES.items() if name == architecture.name]
    known = get_tensor_name_map(number, model.config.num_hidden_layers)
    layers = _layers(attached, parameters)
    unknown = [name for name in layers if known.get_name(name) is None]
    if model.config.tie_word_embeddings:  # the embeddings are there, and no head of its own
        unknown += [name for name in layers if name == _HEAD]
    if unknown:
        raise DeltaspaceError(
            f"llama.cpp has no matrix for some modules of {attached.name}",
            found=listed(unknown),
            expected="linear modules of the attention and feed-forward blocks",
            mend="choose other target_modules, or convert it to such a LoRA: --as (export) or --to (convert)",
        )
    alphas = {name: layer.scale * layer.rank for name, layer in layers.items()}
    alpha = next(iter(alphas.values()))
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        back = layer.back
        if architecture.by_neighbors and (heads := _heads(name, model.config)):
            back = by_neighbors(back, heads)
        if alphas[name] != alpha:
            back = back * (alphas[name] / alpha)
        tensors |= {f"{known.get_name(name)}.weight.lora_a": layer.down, f"{known.get_name(name)}.weight.lora_b": back}
    return GgufLora(architecture.name, alpha, tensors)


def write_gguf_lora(
    attached: AttachedDelta, parameters: Float[Tensor, " params"], path: Path, title: str, provenance: Mapping[str, object]
) -> Path:
    """Write a LoRA as a GGUF file.

    Args:
        attached: the LoRA.
        parameters: (n,).
        path: where to: an earlier LoRA of GGUF, which goes, or nothing.
        title: what the file says that it is.
        provenance: where it comes from, for the file's description.

    Raises:
        DeltaspaceError: see `gguf_lora`; or something else is there, or it cannot be written.
    """
    lora = gguf_lora(attached, parameters)
    from gguf import GGUFWriter
    from gguf.constants import GGML_QUANT_VERSION, GGUFType, Keys, LlamaFileType

    check_replaceable(path)
    with replacing(path) as temporary:
        writer = GGUFWriter(temporary, lora.architecture)
        writer.add_type(GGUFType.ADAPTER)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, lora.alpha)
        writer.add_name(path.stem)
        writer.add_description("\n".join([title, *(f"{key}: {value}" for key, value in provenance.items())]))
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, hub_name(attached.backbone.name))
        writer.add_tags(["deltaspace"])
        writer.add_file_type(LlamaFileType.ALL_F32)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        for name, tensor in lora.tensors.items():
            writer.add_tensor(name, tensor.contiguous().numpy())
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
    return path


def by_neighbors(rows: Float[Tensor, "rows columns"], heads: int) -> Float[Tensor, "rows columns"]:
    """Rows of queries or keys in the order of Llama's GGUF files: a head's halves, which transformers rotates, as neighbors.

    Example:
        >>> import torch
        >>> by_neighbors(torch.arange(8.0).view(8, 1), heads=2).flatten().tolist()
        [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def _heads(name: str, config: PretrainedConfig) -> int:
    """Of how many heads a module's rows are, where they are rotated; else 0."""
    heads: int = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-1], 0)
    return heads


@dataclass(frozen=True)
class _Layer:
    """One update, (scale) B A.

    Args:
        down: A, (r, in), fp32.
        back: B, (out, r), fp32.
        scale: of it.
    """

    down: Float[Tensor, "rank columns"]
    back: Float[Tensor, "rows rank"]
    scale: float

    @property
    def rank(self) -> int:
        """r."""
        return len(self.down)


def _layers(attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> dict[str, _Layer]:
    """The updates by the names of their modules in the model, where they are all that there is."""
    from peft.tuners.lora import Linear

    delta = attached.delta
    if not isinstance(delta, PeftBacked):
        raise _no_lora(attached, delta.name)
    wrapped = delta.as_peft(attached, parameters)
    layers, told, others = {}, set(), set()
    for path, module in wrapped.named_modules():
        if type(module) is Linear:
            # DoRA and others are variants of this class.
            others |= {type(variant).__name__ for variant in module.lora_variant.values()}
            down, back = (_matrix(module, side) for side in ("lora_A", "lora_B"))
            layers[path.removeprefix(_WRAPPED)] = _Layer(down, back, module.scaling[_ADAPTER])
            told |= {f"{path}.{side}.{_ADAPTER}.weight" for side in ("lora_A", "lora_B")}
    others |= {name.removeprefix(_WRAPPED) for name, p in wrapped.named_parameters() if p.requires_grad and name not in told}
    if others:
        raise _no_lora(attached, f"{wrapped.peft_type.value} with {listed(sorted(others))}")
    return layers


def _matrix(module: nn.Module, side: str) -> Float[Tensor, "rows columns"]:
    """A factor of an update, in fp32, apart from the model."""
    weight: Tensor = module.get_submodule(f"{side}.{_ADAPTER}").get_parameter("weight")
    return weight.detach().float().cpu().clone()


def _no_lora(attached: AttachedDelta, found: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"{attached.name} is no plain LoRA, which is all that llama.cpp takes",
        found=found,
        expected="LoRA (rsLoRA's scale included) of linear modules, and nothing beside it",
        mend="convert it: export --as 'lora: {r: 8}' --inputs FILE, or deltaspace convert … --to 'lora: {r: 8}'",
    )
