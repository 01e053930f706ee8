"""Files of weights as they were published, in small: older names and leftovers load; what is missing is refused."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    MPNetConfig,
    MPNetModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from deltaspace import load_backbone
from deltaspace.errors import DeltaspaceError
from tests.tiny import VOCABULARY, model, tiny_tokenizer

_COMMON = {"vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, **_COMMON}


def made(kind):
    torch.manual_seed(0)
    if kind == "albert":
        return AlbertForMaskedLM(AlbertConfig(embedding_size=8, **_ENCODER))
    if kind == "xlm-roberta":
        return XLMRobertaForMaskedLM(XLMRobertaConfig(**_ENCODER))
    if kind == "distilbert":
        return DistilBertForMaskedLM(DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, **_COMMON))
    if kind == "mpnet":
        return MPNetModel(MPNetConfig(**_ENCODER))
    return model(kind)


def renamed(*pairs):
    def change(held):
        for key in list(held):
            new = key
            for pattern, name in pairs:
                new = re.sub(pattern, name, new)
            held[new] = held.pop(key)

    return change


def with_(**shapes):
    """Further tensors; `__` stands for a dot."""

    def change(held):
        for key, shape in shapes.items():
            whole = key.endswith(("position_ids", "_ids"))
            held[key.replace("__", ".")] = torch.arange(shape[-1])[None] if whole else torch.ones(shape)

    return change


def per_layer(name, value, layers=2):
    def change(held):
        for layer in range(layers):
            held[name.format(layer)] = value.clone()

    return change


def copied(source, *targets):
    def change(held):
        for target in targets:
            held[target] = held[source].clone()

    return change


GAMMA = renamed((r"LayerNorm\.weight$", "LayerNorm.gamma"), (r"LayerNorm\.bias$", "LayerNorm.beta"))
# What a pre-training has beside the head that is used.
POOLED = {"pooler__dense__weight": (16, 16), "pooler__dense__bias": (16,)}
BERT_EXTRA = {
    **{f"bert__{key}": shape for key, shape in POOLED.items()},
    "cls__seq_relationship__weight": (2, 16),
    "cls__seq_relationship__bias": (2,),
    "bert__embeddings__position_ids": (1, 512),
}
CAUSAL = torch.ones(8, 8).tril().bool()[None, None]

# Name: the model, what its file is like, and a weight without which it must not load.
LAYOUTS = {
    "gpt2 as OpenAI's": (
        "gpt2",
        [renamed((r"^transformer\.", "")), per_layer("h.{}.attn.bias", CAUSAL.float())],
        "h.1.mlp.c_fc.weight",
    ),
    "gpt2 with masks": (
        "gpt2",
        [per_layer("transformer.h.{}.attn.bias", CAUSAL), per_layer("transformer.h.{}.attn.masked_bias", torch.tensor(-1e4))],
        "transformer.h.0.attn.c_attn.weight",
    ),
    "gpt2 with its head": ("gpt2", [copied("transformer.wte.weight", "lm_head.weight")], "transformer.wpe.weight"),
    "bert of pre-training": ("bert", [with_(**BERT_EXTRA)], "cls.predictions.transform.dense.weight"),
    "bert with gamma and beta": ("bert", [GAMMA, with_(**BERT_EXTRA)], "bert.encoder.layer.1.output.LayerNorm.gamma"),
    "bert with its decoder": (
        "bert",
        [
            copied("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
            copied("cls.predictions.bias", "cls.predictions.decoder.bias"),
        ],
        "bert.encoder.layer.0.attention.self.key.bias",
    ),
    "roberta with its decoder": (
        "roberta",
        [
            copied("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
            copied("lm_head.bias", "lm_head.decoder.bias"),
            with_(**{f"roberta__{key}": shape for key, shape in POOLED.items()}, roberta__embeddings__position_ids=(1, 514)),
        ],
        "lm_head.dense.weight",
    ),
    "xlm-roberta": (
        "xlm-roberta",
        [
            copied("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
            with_(**{f"roberta__{key}": shape for key, shape in POOLED.items()}, roberta__embeddings__position_ids=(1, 514)),
        ],
        "roberta.encoder.layer.1.output.dense.weight",
    ),
    "albert": (
        "albert",
        [
            copied("albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"),
            copied("predictions.bias", "predictions.decoder.bias"),
            with_(
                albert__pooler__weight=(16, 16),
                albert__pooler__bias=(16,),
                albert__embeddings__position_ids=(1, 512),
                sop_classifier__classifier__weight=(2, 16),
                sop_classifier__classifier__bias=(2,),
            ),
        ],
        "albert.encoder.embedding_hidden_mapping_in.weight",
    ),
    "distilbert": (
        "distilbert",
        [copied("distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight")],
        "vocab_transform.weight",
    ),
    "t5 with every copy": (
        "t5",
        [
            copied("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
            with_(decoder__block__0__layer__1__EncDecAttention__relative_attention_bias__weight=(32, 2)),
        ],
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    "llama with rotary frequencies": (
        "llama",
        [per_layer("model.layers.{}.self_attn.rotary_emb.inv_freq", torch.ones(2))],
        "model.layers.1.mlp.up_proj.weight",
    ),
    "sentences without a prefix": (
        "sentence",
        [with_(embeddings__position_ids=(1, 512))],
        "encoder.layer.0.attention.self.value.weight",
    ),
    "sentences with a prefix": (
        "sentence",
        [renamed((r"^", "bert.")), with_(**BERT_EXTRA)],
        "bert.encoder.layer.0.attention.self.value.weight",
    ),
    "sentences of mpnet": ("mpnet", [with_(embeddings__position_ids=(1, 512))], "encoder.relative_attention_bias.weight"),
    "sentences without a pooler": (
        "sentence",
        [lambda held: [held.pop(key) for key in list(held) if key.startswith("pooler.")]],
        "embeddings.LayerNorm.weight",
    ),
}


@pytest.fixture
def published(tmp_path):
    def write(name):
        kind, changes, needed = LAYOUTS[name]
        original = made(kind)
        original.save_pretrained(tmp_path)
        tiny_tokenizer(kind if kind in ("gpt2", "llama", "t5") else "bert").save_pretrained(tmp_path)
        if kind in ("sentence", "mpnet"):
            (tmp_path / "modules.json").write_text("[]")
        path = tmp_path / "model.safetensors"
        held = load_file(path)
        for change in changes:
            change(held)
        save_file(held, path, metadata={"format": "pt"})
        return original.eval(), path, needed

    return write


def output(plm):
    ids = torch.arange(5, 11)[None]
    inputs = {"decoder_input_ids": ids} if plm.config.is_encoder_decoder else {}
    with torch.no_grad():
        made = plm(input_ids=ids, **inputs)
    return made.logits if "logits" in made else made.last_hidden_state


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_loads(name, published):
    original, path, _ = published(name)
    loaded = load_backbone(str(path.parent)).model
    assert output(loaded).allclose(output(original), atol=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_without_a_weight_is_refused(name, published):
    _, path, needed = published(name)
    held = load_file(path)
    del held[needed]
    save_file(held, path, metadata={"format": "pt"})
    with pytest.raises(DeltaspaceError, match=r"missing"):
        load_backbone(str(path.parent))
