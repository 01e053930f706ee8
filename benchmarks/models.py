"""The benchmarks' models, made in memory with random weights, and their tokenizer; sizes are what is measured, or tiny."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from deltaspace.backbone import Backbone, make_backbone
from deltaspace.deltas import AttachedDelta, attach
from deltaspace.families.encoder_decoder import EncoderDecoderBatch
from deltaspace.families.text import TextItem

# Of a tokenizer: <pad>, </s> and <unk> go before what is drawn.
_SPECIAL = 3


@dataclass(frozen=True)
class Sizes:
    """How large everything is; by default what is measured: a T5 of T5-small's sizes, deltas in the paper's.

    Args:
        width, heads, inner, layers, vocabulary: of the T5.
        bottleneck: of the adapter.
        rank: of the LoRA.
        tokens, more_tokens: of the prefix, in most benchmarks and in those with many solutions.
        batch, input_tokens, target_tokens: of a batch.
        solutions, batch_tasks: source tasks, and how many of them share a batch.
        dim: d.
    """

    width: int = 512
    heads: int = 8
    inner: int = 2048
    layers: int = 6
    vocabulary: int = 32128
    bottleneck: int = 12
    rank: int = 10
    tokens: int = 60
    more_tokens: int = 120
    batch: int = 8
    input_tokens: int = 64
    target_tokens: int = 8
    solutions: int = 60
    batch_tasks: int = 4
    dim: int = 100


MEASURED = Sizes()
# For tests: every step in milliseconds. The width is the least that peft's VB-LoRA can do with.
TINY = Sizes(
    width=32,
    heads=2,
    inner=32,
    layers=1,
    vocabulary=64,
    bottleneck=2,
    rank=2,
    tokens=2,
    more_tokens=3,
    batch=4,
    input_tokens=5,
    target_tokens=2,
    solutions=3,
    batch_tasks=2,
    dim=4,
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Splits at spaces. The benchmarks' texts are drawn as tokens, so that it knows hardly a word."""
    words = ("<pad>", "</s>", "<unk>", "a", "word")
    plain = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def make_t5(sizes: Sizes = MEASURED) -> Backbone:
    """A T5 with random weights."""
    torch.manual_seed(0)
    config = T5Config(
        d_model=sizes.width,
        d_kv=sizes.width // sizes.heads,
        d_ff=sizes.inner,
        num_layers=sizes.layers,
        num_heads=sizes.heads,
        vocab_size=sizes.vocabulary,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    return make_backbone("t5-small-sized", model, make_tokenizer(), family="encoder_decoder", device="cpu")


def make_sentence_encoder(sizes: Sizes = TINY) -> Backbone:
    """A sentence encoder with random weights, in place of MiniLM."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        vocab_size=sizes.vocabulary,
    )
    return make_backbone("sentences", BertModel(config), make_tokenizer(), family="sentence_encoder", device="cpu")


def make_llama(sizes: Sizes = TINY) -> Backbone:
    """A decoder with random weights, in place of the demo's language model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        vocab_size=sizes.vocabulary,
        eos_token_id=1,
        pad_token_id=0,
    )
    return make_backbone("decoder", LlamaForCausalLM(config), make_tokenizer(), family="decoder", device="cpu")


def attach_deltas(sizes: Sizes, tokens: int) -> list[AttachedDelta]:
    """Adapter, LoRA and a prefix of `tokens` on one T5."""
    plm = make_t5(sizes)
    return [
        attach("adapter", plm, bottleneck=sizes.bottleneck),
        attach("lora", plm, r=sizes.rank),
        attach("prefix", plm, tokens=tokens),
    ]


def random_tokens(rows: int, length: int, vocabulary: int, generator: torch.Generator) -> torch.Tensor:
    """Tokens that are no special ones, (rows, length)."""
    return torch.randint(_SPECIAL, vocabulary, (rows, length), generator=generator)


def random_batch(plm: Backbone, sizes: Sizes) -> EncoderDecoderBatch:
    """A batch of random tokens without padding."""
    generator = torch.Generator().manual_seed(0)
    inputs = random_tokens(sizes.batch, sizes.input_tokens, sizes.vocabulary, generator).tolist()
    targets = random_tokens(sizes.batch, sizes.target_tokens, sizes.vocabulary, generator).tolist()
    batch = plm.family.collate([TextItem(*tokens) for tokens in zip(inputs, targets, strict=True)])
    assert isinstance(batch, EncoderDecoderBatch)
    return batch
