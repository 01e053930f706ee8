"""The demo's language model with a LoRA: a training step, scoring and generation against the plain ways, in one run.

- `decoder-step`: forward and backward of 8 texts of 22 input and 3 target tokens, against the same with all logits computed.
- `decoder-scoring`: 8 inputs of 48 tokens with 6 candidates of 3 tokens each, against one forward of the inputs (whose logits
  are computed at their last tokens alone), and beside it every candidate behind its own copy of the input.
- `decoder-generation`: 8 texts of 32 tokens, 12 tokens written and the targets' losses, against transformers' own generate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.measuring import Step, medians
from benchmarks.models import Sizes, random_tokens
from deltaspace.backbone import Backbone, load_backbone
from deltaspace.deltas import AttachedDelta, attach
from deltaspace.families.batch import Batch
from deltaspace.families.decoder import Decoder, DecoderBatch
from deltaspace.families.logits import logits_at
from deltaspace.families.losses import IGNORED
from deltaspace.families.ranking import Choice
from deltaspace.families.text import GeneratedText, RankedText

ROUNDS = 3
CANDIDATES, TOKENS, NEW = 6, 3, 12
STEP = Sizes(batch=8, input_tokens=22, target_tokens=TOKENS)
SCORING = Sizes(batch=8, input_tokens=48)
GENERATION = Sizes(batch=8, input_tokens=32, target_tokens=6)
Result = dict[str, Any]


def _decoder(plm: Backbone) -> Decoder:
    assert isinstance(plm.family, Decoder)
    return plm.family


def _drawn(plm: Backbone, rows: int, length: int, seed: int = 0) -> list[list[int]]:
    tokens = random_tokens(rows, length, plm.model.config.vocab_size, torch.Generator().manual_seed(seed))
    return [list(row) for row in tokens.tolist()]


def _generated(plm: Backbone, sizes: Sizes) -> DecoderBatch:
    """Texts with targets, which are written."""
    inputs, targets = _drawn(plm, sizes.batch, sizes.input_tokens), _drawn(plm, sizes.batch, sizes.target_tokens, seed=1)
    return _decoder(plm).collate([GeneratedText(*tokens, NEW) for tokens in zip(inputs, targets, strict=True)])


def _step(attached: AttachedDelta, loss: Any, batch: Batch) -> Step:
    vector = attached.initial.clone().requires_grad_()

    def step() -> None:
        vector.grad = None
        attached.call(vector, lambda model: loss(model, batch)).backward()

    return step


def _all_logits(model: Any, batch: DecoderBatch) -> torch.Tensor:
    """The loss from the logits of all tokens, the last one's too; all texts are of one length."""
    ids = torch.cat([batch.inputs.input_ids, batch.targets[:, -1:]], dim=1)
    labels = torch.full_like(ids, IGNORED).scatter_(1, batch.positions + 1, batch.targets)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED)


def decoder_step(plm: Backbone | None = None, sizes: Sizes = STEP, rounds: int = ROUNDS) -> list[Result]:
    """Forward and backward, logits where targets are and logits everywhere."""
    plm = plm or load_backbone("demo-lm")
    attached, batch = attach("lora", plm, r=sizes.rank), _generated(plm, sizes)
    ours, plain = plm.family.loss(attached.model, batch), _all_logits(attached.model, batch)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    seconds = medians({"ours": _step(attached, plm.family.loss, batch), "all": _step(attached, _all_logits, batch)}, rounds)
    unit = "x the step with all logits"
    return [{"name": "decoder-step", "value": seconds["ours"] / seconds["all"], "unit": unit, "goal": 0.75}]


@torch.no_grad()
def decoder_scoring(plm: Backbone | None = None, sizes: Sizes = SCORING, rounds: int = ROUNDS) -> list[Result]:
    """Six candidates of each input, and a forward of the inputs."""
    plm = plm or load_backbone("demo-lm")
    family, attached = _decoder(plm), attach("lora", plm, r=sizes.rank)
    candidates = _drawn(plm, CANDIDATES, TOKENS, seed=1)
    choice = Choice(tuple(map(str, range(CANDIDATES))), 0)
    items = [RankedText(ids, candidates[0], choice, candidates) for ids in _drawn(plm, sizes.batch, sizes.input_tokens)]
    inputs = family.pad_inputs([item.input_ids for item in items])
    last = torch.full((len(items), 1), sizes.input_tokens - 1)
    model = attached.model
    torch.testing.assert_close(family._packed(model, items), family._each(model, items), rtol=1e-5, atol=1e-5)
    steps: dict[str, Step] = {
        "packed": lambda: family.evaluate(model, family.collate(items)),
        "each": lambda: family._each(model, items),
        "inputs": lambda: logits_at(model, inputs, last),
    }
    seconds = medians(steps, rounds)
    common = {"unit": "x one forward of the inputs"}
    return [
        {"name": "decoder-scoring", "value": seconds["packed"] / seconds["inputs"], "goal": 1.5, **common},
        {"name": "decoder-scoring-each", "value": seconds["each"] / seconds["inputs"], "goal": None, **common},
    ]


@torch.no_grad()
def decoder_generation(plm: Backbone | None = None, sizes: Sizes = GENERATION, rounds: int = ROUNDS) -> list[Result]:
    """What is written and the targets' losses, and transformers' generate."""
    plm = plm or load_backbone("demo-lm")
    attached, batch = attach("lora", plm, r=sizes.rank), _generated(plm, sizes)
    family, model = _decoder(plm), attached.model
    inputs = family.pad_inputs([item.input_ids for item in batch.items], left=True)
    options = {"max_new_tokens": NEW, "do_sample": False, "num_beams": 1, "pad_token_id": family.pad_id}
    steps: dict[str, Step] = {
        "ours": lambda: family.evaluate(model, batch),
        "generate": lambda: model.generate(**inputs._asdict(), **options),
    }
    seconds = medians(steps, rounds)
    unit = "x transformers' generate"
    return [{"name": "decoder-generation", "value": seconds["ours"] / seconds["generate"], "unit": unit, "goal": 1.2}]
