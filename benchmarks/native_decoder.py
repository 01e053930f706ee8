"""`python -m benchmarks.native_decoder STUDY`: the same as benchmarks.native, for a study on a decoder-only model.

peft's own LoRA and PREFIX_TUNING, and adapters as plain modules put in by forward hooks, of the study's sizes, trained on
transformers' model by benchmarks.native's loop: cross-entropy of the answer's tokens. Candidates are ranked by their mean
log-likelihood, each behind its own copy of the prompt; texts are written by transformers' `generate`. Of deltaspace there
are only the tokens of prompts and answers. Both are scored on the first test examples, more of them than the study has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from benchmarks.measuring import conditions
from benchmarks.native import Bottleneck, tune
from deltaspace.deltas import Adapter, Lora, Prefix
from deltaspace.families.text import RankedText, TextItem
from deltaspace.gguf_files import model_files
from deltaspace.scoring import score
from deltaspace.storage import read_json, write_json
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources, load_tasks
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.zero_shot import Key
from deltaspace.tasks import METRICS, Task

RESULTS = Path(__file__).parent / "results" / "native-decoder.json"
IGNORED = -100
# The projections in which sublayers end, of a Llama.
SUBLAYERS = ("self_attn.o_proj", "mlp.down_proj")
# Tokens that may be written beyond the longest answer.
ROOM = 4


def with_method(delta: Adapter | Lora | Prefix, folder: Path) -> nn.Module:
    """The PLM, frozen, with a method's trainable parameters, as many as the study's delta has."""
    model = AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False)
    if isinstance(delta, Lora):
        targets = list(delta.target_modules or ("q_proj", "v_proj"))
        return get_peft_model(model, LoraConfig(r=delta.r, lora_alpha=delta.alpha, target_modules=targets, task_type="CAUSAL_LM"))
    if isinstance(delta, Prefix):
        return get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=delta.tokens))
    for name, module in list(model.named_modules()):
        if name.endswith(SUBLAYERS):
            module.adapter = Bottleneck(module.out_features, delta.bottleneck)
            module.register_forward_hook(lambda module, _, output: module.adapter(output))
    return model


def padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts with their answers behind them; what is not of an answer has no label."""
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    texts = [[*prompt, *answer] for prompt, answer in rows]
    labels = [[IGNORED] * len(prompt) + answer for prompt, answer in rows]
    return {
        "input_ids": torch.tensor([text + [pad] * (width - len(text)) for text in texts]),
        "attention_mask": torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts]),
        "labels": torch.tensor([row + [IGNORED] * (width - len(row)) for row in labels]),
    }


def mean_log_likelihoods(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of each row's answer; transformers and peft shift the labels, and so it is done here."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"][:, 1:]
    each = -F.cross_entropy(logits[:, :-1].transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none")
    return each.sum(1) / (labels != IGNORED).sum(1)


def answer(model: nn.Module, item: TextItem, tokens: int, tokenizer: Any) -> str:
    """The likeliest candidate, or what is written."""
    pad = tokenizer.pad_token_id or 0
    if isinstance(item, RankedText):
        batch = padded([(item.input_ids, candidate) for candidate in item.candidate_ids], pad)
        return item.choice.candidates[int(mean_log_likelihoods(model, batch).argmax())]
    ids = torch.tensor([item.input_ids])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pad_token_id": pad}
    written = model.generate(**given, max_new_tokens=tokens, do_sample=False, num_beams=1)
    return str(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def train(delta: Adapter | Lora | Prefix, lr: float, task: Task, resources: Resources, seed: int) -> dict[str, Any]:
    """Train natively; returns the task's metric on dev and test."""
    family, settings = resources.backbone.family, resources.recipe.train
    torch.manual_seed(seed)
    model = with_method(delta, model_files(resources.recipe.model).folder)
    items = {split: family.encode(task, task.split(split)) for split in ("train", "dev", "test")}
    tokens = max(len(item.target_ids) for item in items["train"]) + ROOM

    def collate(rows: Sequence[TextItem]) -> dict[str, torch.Tensor]:
        return padded([(item.input_ids, item.target_ids) for item in rows], family.pad_id)

    @torch.no_grad()
    def evaluate(split: str) -> float:
        predictions = [answer(model, item, tokens, family.tokenizer) for item in items[split]]
        return METRICS[task.metric].score(predictions, [example.target for example in task.split(split)])

    loader = DataLoader(items["train"], settings.batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    return tune(model, loader, lambda batch: model(**batch).loss, evaluate, lr, settings.steps, settings)


def main() -> None:
    """Train, print both scores, and write `results/native-decoder.json`; what it has of other runs stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--deltas", nargs="+", default=["adapter", "lora", "prefix"])
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--lr", nargs="+", type=float, default=None, help="learning rates to try; the study's by default")
    parser.add_argument("--test", type=int, default=200, help="how many test examples")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    recipe = load_recipe(options.study / RECIPE)
    resources = Resources(recipe, Folder(options.study))
    more = load_tasks(recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"test": options.test})}))
    rows = read_json(options.out)["rows"] if options.out.exists() else []
    for name in options.tasks:
        task = more[name]
        for named in options.deltas:
            key = Key(task=name, delta=named, seed=recipe.seed[0])
            attached = resources.attached(named, key.seed)
            vector = resources.folder.read(INDEPENDENT.path(key))[0]["vector"]
            ours = score(attached, task, vector)
            for lr in options.lr or [recipe.train.lr]:
                started = time.perf_counter()
                row = {"task": name, "delta": named, "deltaspace": ours.value, "test_examples": ours.count, "metric": task.metric}
                row |= train(attached.delta, lr, task, resources, key.seed) | {"lr": lr}
                rows = [other for other in rows if any(other[each] != row[each] for each in ("task", "delta", "lr"))] + [row]
                native, seconds = row["score"], time.perf_counter() - started
                print(
                    f"{name:20} {named:8} lr {lr:g}: native {native:5.1f}, deltaspace {ours.value:5.1f} ({seconds:.0f} s)",
                    flush=True,
                )
                write_json(options.out, {**conditions(), "rows": rows})


if __name__ == "__main__":
    main()
