"""`python -m benchmarks.text2text OUT`: the whole path for an encoder-decoder, classification and generation tasks together.

No pretrained T5 is at hand without a network, so a small one is made here: a tokenizer and a T5 are trained on the tasks' own
training inputs (span corruption, Raffel et al. 2020, arXiv 1910.10683, section 3.1.4). Then a recipe is run on it as a user would
run it. It shows that every step works on such a model and such tasks, with ranking, exact match, QA-F1 and ROUGE-L; it does not
show how good the method is on a model that knows English.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.decoders import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from benchmarks.measuring import conditions
from deltaspace.report.tables import tables
from deltaspace.storage import write_json, write_text
from deltaspace.study import load_recipe, read_scores, run_study

RECIPE = Path(__file__).parents[1] / "recipes" / "multitask-text2text.yaml"
RESULTS = Path(__file__).parent / "results" / "text2text.json"
# Of the split, what fits minutes on 2 cores: every kind of task and every metric among them.
SOURCE = (
    "sst2",
    "trec",
    "subj",
    "glue-qqp",
    "codah",
    "glue-stsb",
    "past_tense",
    "common_gen",
    "numer_sense",
    "ade_corpus_v2-effect",
)
UNSEEN = ("sentiment-amazon", "ag_news", "ai2_arc-easy", "question_formation", "disfl_qa")
VOCABULARY, SENTINELS = 8000, 32
LENGTH, NOISE, SPAN = 64, 0.15, 3
PEAK, WARMUP = 2e-3, 50
# Texts that the tokenizer is trained on.
SAMPLE = 40_000


def inputs(folder: Path) -> list[str]:
    """The training inputs and targets of all tasks; what the tests are about is not among them."""
    texts = []
    for path in sorted(folder.glob("*/train.jsonl")):
        examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        texts += [example["input"] for example in examples] + [example["target"] for example in examples]
    return texts


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A unigram tokenizer like T5's, with sentinels."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), Metaspace()
    sentinels = [f"<extra_id_{index}>" for index in range(SENTINELS)]
    special = ["<pad>", "</s>", "<unk>", *sentinels]
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", extra_special_tokens=sentinels
    )


def corrupt(ids: list[int], sentinels: list[int], end: int, generator: random.Random) -> tuple[list[int], list[int]]:
    """Spans of the text are replaced by sentinels; the target is the spans, each behind its sentinel."""
    ids = ids[:LENGTH]
    count = min(max(1, round(len(ids) * NOISE / SPAN)), len(sentinels) - 1)
    starts = sorted(generator.sample(range(len(ids)), min(count, len(ids))))
    source: list[int] = []
    target: list[int] = []
    position = 0
    for index, start in enumerate(starts):
        if start < position:
            continue
        source += [*ids[position:start], sentinels[index]]
        position = min(start + SPAN, len(ids))
        target += [sentinels[index], *ids[start:position]]
    return [*source, *ids[position:], end], [*target, end]


def pretrain(
    texts: list[str], minutes: float, batch_size: int = 32, seed: int = 0
) -> tuple[T5ForConditionalGeneration, PreTrainedTokenizerFast, dict[str, float]]:
    """A T5 of 6 M parameters, trained for so many minutes."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(random.Random(seed).sample(texts, min(SAMPLE, len(texts))))
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=192,
        d_kv=32,
        d_ff=512,
        num_layers=4,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    sentinels = tokenizer.convert_tokens_to_ids([f"<extra_id_{index}>" for index in range(SENTINELS)])
    encoded = [ids for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] if len(ids) > 2 * SPAN]
    generator = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01)
    started, step, losses = time.perf_counter(), 0, []
    while (spent := time.perf_counter() - started) < 60 * minutes:
        pairs = [corrupt(generator.choice(encoded), sentinels, 1, generator) for _ in range(batch_size)]
        source = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s, _ in pairs], batch_first=True)
        target = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for _, t in pairs], batch_first=True, padding_value=-100)
        loss = model(input_ids=source, attention_mask=(source != 0).long(), labels=target).loss
        optimizer.param_groups[0]["lr"] = PEAK * min(1, (step + 1) / WARMUP) * (1 - spent / (60 * minutes))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses.append(float(loss.detach()))
        if step % 200 == 0:
            print(
                f"pre-training: step {step}, {spent:.0f} of {60 * minutes:.0f} s, loss {sum(losses[-200:]) / 200:.2f}", flush=True
            )
    return (
        model.eval(),
        tokenizer,
        {"steps": step, "first": sum(losses[:20]) / 20, "last": sum(losses[-200:]) / len(losses[-200:])},
    )


def write_recipe(path: Path, model: Path, whole: bool) -> Path:
    """The recipe of the split with this model; unless it is the whole split, what fits minutes on 2 cores."""
    recipe: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["model"] = str(model.resolve())
    recipe["tasks"]["folder"] = str(tasks_folder())
    if not whole:
        recipe["tasks"] |= {"source": list(SOURCE), "unseen": list(UNSEEN)}
        recipe |= {
            "max_length": LENGTH,
            "dim": 20,
            "limits": {"train": 2000, "dev": 60, "test": 200},
            "train": {"steps": 200, "lr": 5e-3, "evaluate_every": 50, "patience": 3},
            "approximate": {"steps": 60, "evaluate_every": 20, "dev": 20},
            "optimize": {"steps": 80, "evaluate_every": 20},
        }
    write_text(path, yaml.safe_dump(recipe, sort_keys=False))
    return path


def tasks_folder() -> Path:
    """Where the split's tasks lie."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return (RECIPE.parent / recipe["tasks"]["folder"]).resolve()


def main() -> None:
    """Make the model, run the recipe, print tables and write `results/text2text.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="of pre-training")
    parser.add_argument("--all", action="store_true", help="the whole split and the recipe's own sizes (hours, or a GPU)")
    arguments = parser.parse_args()
    model_folder = arguments.out / "model"
    pretrained = arguments.out / "pretraining.json"
    if not pretrained.exists():
        model, tokenizer, training = pretrain(inputs(tasks_folder()), arguments.minutes)
        model.save_pretrained(model_folder)
        tokenizer.save_pretrained(model_folder)
        write_json(pretrained, {"minutes": arguments.minutes, "parameters": model.num_parameters(), **training})
    recipe = load_recipe(write_recipe(arguments.out / "recipe.yaml", model_folder, arguments.all))
    started = time.perf_counter()
    run_study(recipe, arguments.out / "study")
    rows = read_scores(arguments.out / "study")
    seconds = time.perf_counter() - started
    write_json(RESULTS, {**conditions(), "seconds": seconds, "rows": [asdict(row) for row in rows]})
    for table in tables(rows):
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
