"""`python -m benchmarks.native STUDY`: the independent solutions of a study beside training the same methods without deltaspace.

peft's own LoRA and PREFIX_TUNING (direct, and through its training-time MLP), and adapters as plain modules put in by forward
hooks; each with AdamW without weight decay and transformers' linear schedule over a shuffled DataLoader, for the study's steps,
learning rate and batch size unless told otherwise; the best on dev is kept. Nothing of deltaspace's deltas or training loop is
used: only the model, the task's sentences and the way a sentence encoder decides (cosine with the labels' embeddings).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

from benchmarks.measuring import conditions
from deltaspace.storage import model_folder, read_json, write_json
from deltaspace.study import Recipe, load_recipe, read_scores
from deltaspace.tasks import METRICS, Example, Task, load_task
from deltaspace.training import Training

METHODS = ("adapter", "lora", "prefix", "prefix-mlp")
SCALE = 20.0
RESULTS = Path(__file__).parent / "results" / "native.json"


class Bottleneck(nn.Module):
    """A Houlsby adapter without biases."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, size, bias=False), nn.Linear(size, hidden, bias=False)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.up(F.silu(self.down(hidden)))


def with_method(method: str, name: str) -> nn.Module:
    """The PLM, frozen, with a method's trainable parameters (73,728 of them, but for the MLP's)."""
    model = AutoModel.from_pretrained(model_folder(name)).requires_grad_(False)
    if method == "lora":
        return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"]))
    if method == "prefix":
        return get_peft_model(model, PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=16))
    if method == "prefix-mlp":
        config = PrefixTuningConfig(
            task_type="FEATURE_EXTRACTION", num_virtual_tokens=16, prefix_projection=True, encoder_hidden_size=24
        )
        return get_peft_model(model, config)
    for module_name, module in list(model.named_modules()):
        if module_name.endswith(("attention.output.dense", "output.dense")):
            module.adapter = Bottleneck(module.out_features, 8)
            module.register_forward_hook(lambda module, _, output: module.adapter(output))
    return model


def train(method: str, lr: float, steps: int, task: Task, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Train natively; returns the task's metric on dev and test."""
    torch.manual_seed(seed)
    model = with_method(method, recipe.model)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(recipe.model))
    plain = AutoModel.from_pretrained(model_folder(recipe.model)).eval()

    def encode(texts: list[str]) -> Mapping[str, torch.Tensor]:
        return tokenizer(texts, padding=True, truncation=True, max_length=recipe.max_length, return_tensors="pt")

    def embed(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        hidden = network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    candidates = list(task.candidates(task.train[0]))
    texts = [task.labels.get(candidate, candidate) for candidate in candidates]
    with torch.no_grad():
        labels = embed(plain, encode(texts))

    def collate(examples: Sequence[Example]) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        return encode([e.input for e in examples]), torch.tensor([candidates.index(e.target) for e in examples])

    @torch.no_grad()
    def score(examples: list[Example]) -> float:
        chosen = [(embed(model, inputs) @ labels.T).argmax(1) for inputs, _ in DataLoader(examples, 64, collate_fn=collate)]
        predictions = [candidates[index] for index in torch.cat(chosen).tolist()]
        return METRICS[task.metric].score(predictions, [e.target for e in examples])

    def loss(batch: tuple[Mapping[str, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        inputs, gold = batch
        return F.cross_entropy(SCALE * embed(model, inputs) @ labels.T, gold)

    loader = DataLoader(list(task.train), recipe.train.batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    return tune(model, loader, loss, lambda split: score(list(getattr(task, split))), lr, steps, recipe.train)


def tune(
    model: nn.Module,
    loader: Iterable[Any],
    loss: Callable[[Any], torch.Tensor],
    score: Callable[[str], float],
    lr: float,
    steps: int,
    settings: Training,
) -> dict[str, Any]:
    """AdamW and a linear schedule over the loader's batches, again and again; what is best on dev is scored on test."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, round(settings.warmup * steps), steps)
    model.eval()
    best, result, step, started = -1.0, {}, 0, time.perf_counter()
    while step < steps:
        for batch in loader:
            optimizer.zero_grad()
            loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            schedule.step()
            step += 1
            if step % settings.evaluate_every == 0 or step == steps:
                dev = score("dev")
                if dev > best:
                    best, result = dev, {"dev": dev, "best_step": step, "score": score("test")}
            if step == steps:
                break
    count = sum(p.numel() for p in parameters)
    return {**result, "steps": step, "lr": lr, "parameters": count, "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Train, print a table beside the study's own scores, and write `results/native.json`; what it has of other runs stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tasks", nargs="+", default=None)
    parser.add_argument("--lr", nargs="+", type=float, default=None, help="learning rates to try; the study's by default")
    parser.add_argument("--steps", type=int, default=None, help="the study's by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    recipe = load_recipe(options.study / "recipe.yaml")
    specs = (*recipe.tasks.source, *recipe.tasks.unseen)
    if unknown := set(options.tasks or ()) - {spec.task_name for spec in specs}:
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(spec.task_name for spec in specs)}")
    ours = {
        (row.task, row.delta): row.score
        for row in read_scores(options.study)
        if row.stage == "independent" and row.seed == options.seed
    }
    rows = read_json(options.out)["rows"] if options.out.exists() else []
    for spec in specs:
        task = load_task(spec, folder=Path(recipe.tasks.folder or ""), limits=recipe.limits)
        if options.tasks and task.name not in options.tasks:
            continue
        for method in options.methods:
            for lr in options.lr or [recipe.train.lr]:
                score = ours.get((task.name, method.split("-")[0]))
                row = {"task": task.name, "method": method, "seed": options.seed, "deltaspace": score}
                row |= train(method, lr, options.steps or recipe.train.steps, task, recipe, options.seed)
                same = ("task", "method", "seed", "lr", "steps")
                rows = [other for other in rows if any(other[key] != row[key] for key in same)] + [row]
                shown = "     " if score is None else f"{score:5.1f}"
                print(f"{task.name:12} {method:10} lr {lr:g}: native {row['score']:5.1f}, deltaspace {shown}", flush=True)
                write_json(options.out, {**conditions(), "rows": rows})


if __name__ == "__main__":
    main()
