"""Tiny random models with a word-level tokenizer, made in memory; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from deltaspace.backbone import Backbone, make_backbone
from deltaspace.tasks import Example, Task, make_task

WORDS = "the a good bad film was is it fine poor dull great . , It was . Answer: happy sad plot and very not".split()
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
VOCABULARY = {word: index for index, word in enumerate(dict.fromkeys(SPECIAL + WORDS))}
ARCHITECTURES = ("t5", "bart", "bert", "roberta", "gpt2", "llama", "sentence")
_COMMON = {"vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, **_COMMON}


def tokenizer(open_text: bool, close_text: bool) -> PreTrainedTokenizerFast:
    """Splits at spaces; puts <s> before and </s> behind as asked."""
    plain = Tokenizer(WordLevel(VOCABULARY, unk_token="<unk>"))
    plain.pre_tokenizer = WhitespaceSplit()
    single = " ".join((["<s>"] if open_text else []) + ["$A"] + (["</s>"] if close_text else []))
    if single != "$A":
        plain.post_processor = TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, **names)


def model(kind: str):
    """A random model of two layers, 16 wide."""
    torch.manual_seed(0)
    if kind == "t5":
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        return T5ForConditionalGeneration(T5Config(**sizes, **_COMMON, decoder_start_token_id=0))
    if kind == "bart":
        sides = {
            f"{s}_{k}": v for s in ("encoder", "decoder") for k, v in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 32))
        }
        return BartForConditionalGeneration(
            BartConfig(d_model=16, max_position_embeddings=160, **sides, **_COMMON, decoder_start_token_id=2)
        )
    if kind == "bert":
        return BertForMaskedLM(BertConfig(**_BERT))
    if kind == "roberta":
        return RobertaForMaskedLM(RobertaConfig(**_BERT))
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, **_COMMON))
    if kind == "llama":
        sizes = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
        }
        return LlamaForCausalLM(LlamaConfig(**sizes, **_COMMON))
    return BertModel(BertConfig(**_BERT))


FAMILY = {
    "t5": "encoder_decoder",
    "bart": "encoder_decoder",
    "bert": "masked_encoder",
    "roberta": "masked_encoder",
    "gpt2": "decoder",
    "llama": "decoder",
    "sentence": "sentence_encoder",
}


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer that goes with `model(kind)`."""
    return tokenizer(open_text=FAMILY[kind] not in ("decoder",) and kind != "t5", close_text=FAMILY[kind] != "decoder")


def tiny_backbone(kind: str) -> Backbone:
    """A backbone of `model(kind)`."""
    return make_backbone(
        kind, model(kind), tiny_tokenizer(kind), family=FAMILY[kind], max_length=32, device="cpu", fingerprint=kind
    )


def save_tiny(kind: str, folder: Path) -> Path:
    """The model and tokenizer as a folder that `load_backbone` reads."""
    model(kind).save_pretrained(folder)
    tiny_tokenizer(kind).save_pretrained(folder)
    if kind == "sentence":
        (folder / "modules.json").write_text("[]")
    return folder


def examples(count: int, offset: int = 0) -> list[Example]:
    """Separable binary examples."""
    good, bad = ("good", "fine", "great"), ("bad", "poor", "dull")
    made = []
    for index in range(offset, offset + count):
        words, target = (good, "happy") if index % 2 else (bad, "sad")
        filler = " ".join(WORDS[(index * 7 + k) % 8] for k in range(index % 4))
        made.append(Example(f"the film was {words[index % 3]} {filler} plot".strip(), target))
    return made


def tiny_task(name: str = "tiny", size: int = 24, **settings) -> Task:
    """A binary classification task."""
    splits = {"train": examples(size), "dev": examples(8, 100), "test": examples(8, 200)}
    return make_task(name, splits, source="made in the test", **settings)


def write_task(folder: Path, size: int = 24) -> Path:
    """`tiny_task` as a folder of JSON Lines."""
    folder.mkdir(parents=True)
    for split, rows in (("train", examples(size)), ("dev", examples(8, 100)), ("test", examples(8, 200))):
        lines = [json.dumps({"input": e.input, "target": e.target}) for e in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_example(folder: Path | str) -> Path:
    """A recipe of two steps a stage with its tiny model and tasks, as a folder; the recipe's path."""
    folder = Path(folder)
    save_tiny("bert", folder / "model")
    for name in ("source", "unseen"):
        write_task(folder / name, size=16)
    short = {"steps": 2, "lr": 0.02, "batch_size": 4, "evaluate_every": 1}
    recipe = {
        "model": str(folder.resolve() / "model"),
        "deltas": [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}],
        "tasks": {"source": ["source"], "unseen": ["unseen"]},
        "dim": 2,
        "train": short,
        "optimize": short,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path
