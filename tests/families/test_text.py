"""Candidates of many examples are scored in several passes, also where a batch holds the parts of several vectors."""

from __future__ import annotations

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.families import text
from deltaspace.tasks import Example, make_task
from tests.tiny import tiny_backbone, tiny_task


def uneven():
    """Examples with two and with three options."""
    options = [("good", "bad"), ("good", "bad", "poor")]
    rows = [Example(f"the film was {word}", "good", options[i % 2]) for i, word in enumerate(("fine", "dull", "great", "poor"))]
    return make_task("uneven", dict.fromkeys(("train", "dev", "test"), rows), source="here", kind="multiple_choice")


def each_alone(plm):
    """The text families, with every candidate behind its own copy of the input."""
    if plm.family.name == "decoder":
        plm.family.__dict__["_packs"] = False
    return plm


@pytest.mark.parametrize("rows", [1, 7, 256])
@pytest.mark.parametrize("task", [tiny_task(size=12), uneven()], ids=lambda task: task.name)
@pytest.mark.parametrize("architecture", ["t5", "bart", "gpt2", "llama"])
def test_several_vectors_are_scored_as_each_alone(architecture, task, rows, monkeypatch):
    monkeypatch.setattr(text, "_ROWS", rows)
    plm = each_alone(tiny_backbone(architecture))
    lora, items = attach("lora", plm, r=2), plm.family.encode(task, task.train)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.stack([lora.initial + size * torch.randn(lora.layout.size, generator=generator) for size in (0.2, 2.0)])
    with torch.no_grad():
        together = lora.evaluate(vectors, plm.family.collate(items * 2))
        alone = [lora.evaluate(vector, plm.family.collate(items)) for vector in vectors]
        one_by_one = [lora.evaluate(vectors[0], plm.family.collate([item])).losses for item in items]
    torch.testing.assert_close(together.losses, torch.cat([evaluation.losses for evaluation in alone]), rtol=1e-4, atol=1e-5)
    assert together.predictions == [text for evaluation in alone for text in evaluation.predictions]
    torch.testing.assert_close(alone[0].losses, torch.cat(one_by_one), rtol=1e-4, atol=1e-4)
