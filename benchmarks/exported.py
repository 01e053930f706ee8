"""`python -m benchmarks.exported STUDY TASK`: whether a task that was exported as LoRA writes the same texts elsewhere.

The vector of a generated task, found through a delta of a study on a decoder, writes answers to test inputs in three ways: in the
study's own model; exported, in peft's model on the plain PLM; exported and merged, in transformers alone. Tells how many are
equal.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from benchmarks.measuring import conditions
from deltaspace.cli import app
from deltaspace.gguf_files import model_files
from deltaspace.storage import write_json
from deltaspace.study.files import RECIPE
from deltaspace.study.folder import Folder
from deltaspace.study.recipe import load_recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.optimized import Key as VectorKey
from deltaspace.study.stages.subspace import SUBSPACE

RESULTS = Path(__file__).parent / "results" / "exported.json"


def texts_of(model: PreTrainedModel, prompts: list[list[int]], pad: int, tokens: int) -> list[list[int]]:
    """What a model of transformers or peft writes behind each prompt, token by token the likeliest."""
    written = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        output = model.generate(**given, max_new_tokens=tokens, do_sample=False, num_beams=1, pad_token_id=pad)
        written.append(output[0, len(prompt) :].tolist())
    return written


def main() -> None:
    """Export, generate in three ways, compare, and write `results/exported.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("task")
    parser.add_argument("--delta", default="lora")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    resources = Resources(load_recipe(options.study / RECIPE), Folder(options.study))
    key = VectorKey(resources.recipe.dim[0], options.delta, options.task, resources.recipe.seed[0])
    task, plm = resources.tasks[options.task], resources.backbone
    attached, subspace = resources.attached(options.delta, key.seed), SUBSPACE.load(resources, key.subspace)
    items = plm.family.encode(task, task.test[: options.prompts])
    prompts, tokens = [list(item.input_ids) for item in items], max(len(item.target_ids) for item in items) + 4
    parameters = subspace.decode(options.delta, OPTIMIZED.vector(resources, key))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        named = ["export", str(options.study), "--task", options.task, "--delta", options.delta, "--quiet"]
        for name, more in (("lora", []), ("merged", ["--merge"])):
            app([*named, "-o", str(Path(folder) / name), *more], standalone_mode=False)
        pad = plm.family.pad_id
        here = attached.call(parameters, lambda model: texts_of(model, prompts, pad, tokens))
        base = AutoModelForCausalLM.from_pretrained(model_files(resources.recipe.model).folder)
        in_peft = texts_of(PeftModel.from_pretrained(base, Path(folder) / "lora"), prompts, pad, tokens)
        merged = texts_of(AutoModelForCausalLM.from_pretrained(Path(folder) / "merged"), prompts, pad, tokens)
        tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "merged")
    alike = {
        "peft": sum(ours == theirs for ours, theirs in zip(here, in_peft, strict=True)),
        "transformers, merged": sum(ours == theirs for ours, theirs in zip(here, merged, strict=True)),
    }
    shown = [tokenizer.decode(ids, skip_special_tokens=True) for ids in here[:3]]
    write_json(options.out, {"task": options.task, "prompts": len(prompts), "alike": alike, "texts": shown, **conditions()})
    for name, count in alike.items():
        print(f"{count} of {len(prompts)} texts are the same: {name}")


if __name__ == "__main__":
    main()
