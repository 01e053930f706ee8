"""Candidates of many examples are scored in several passes, also where a batch holds the parts of several vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.families import text
from deltaspace.families.batch import joined_rows
from deltaspace.families.text import BegunText
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


def written_task():
    rows = [
        Example(f"the film was {word}", answer)
        for word, answer in (("fine", "good"), ("dull", "a bad film"), ("great and good", "good film"), ("poor", "bad"))
    ]
    return make_task("written", dict.fromkeys(("train", "dev", "test"), rows), source="here", kind="generation")


@pytest.fixture(params=["t5", "bart", "gpt2", "llama"])
def writes(request):
    """A text family, a delta that does something, and items whose answers are written."""
    plm = tiny_backbone(request.param)
    lora, task = attach("lora", plm, r=2), written_task()
    vector = lora.initial + torch.randn(lora.layout.size, generator=torch.Generator().manual_seed(0))
    return plm, lora, vector, plm.family.encode(task, task.train)


def test_a_written_answer_is_told_token_by_token(writes):
    plm, lora, vector, items = writes
    batch = plm.family.collate(items)
    with torch.no_grad():
        losses, answer = lora.losses_and_answer(vector.unsqueeze(0), batch)
        assert answer.equal(lora.answer(vector, batch))
        torch.testing.assert_close(losses, lora.losses(vector.unsqueeze(0), batch))
        torch.testing.assert_close(answer.norm(dim=1), torch.ones(len(items)))
        for item, row in zip(items, answer, strict=True):
            tokens = len(item.target_ids)
            states = [BegunText(item.input_ids, item.target_ids, item.target_ids[:end]) for end in range(tokens)]
            each = torch.cat([lora.decision(vector, plm.family.collate([state])) for state in states])
            torch.testing.assert_close(row[: each.numel()], (each / tokens**0.5).flatten(), rtol=1e-4, atol=1e-5)
            assert not row[each.numel() :].any()


def test_of_a_ranked_answer_the_first_token_is_told(writes):
    plm, lora, vector, _ = writes
    batch = plm.family.collate(plm.family.encode(tiny_task(), tiny_task().train))
    with torch.no_grad():
        _, answer = lora.losses_and_answer(vector.unsqueeze(0), batch)
        torch.testing.assert_close(answer, lora.decision(vector, batch), rtol=1e-4, atol=1e-6)


def test_what_is_written_is_what_is_predicted(writes):
    plm, lora, vector, items = writes
    other = [replace(item, target_ids=items[0].target_ids) for item in items]
    written, again = (lora.written(vector, each, 20) for each in (items, other))
    # The answers that are given are not read.
    assert [item.target_ids for item in written] == [item.target_ids for item in again]
    told = plm.tokenizer.batch_decode([item.target_ids for item in written], skip_special_tokens=True)
    with torch.no_grad():
        assert [each.strip() for each in told] == lora.evaluate(vector, plm.family.collate(items)).predictions
    assert [item.input_ids for item in written] == [item.input_ids for item in items]
    assert all(len(item.target_ids) == 1 for item in lora.written(vector, items, 1))
    ranked = plm.family.encode(tiny_task(), tiny_task().train)
    assert lora.written(vector, ranked, 5) == ranked


def test_answers_of_other_lengths_are_joined():
    rows = joined_rows([torch.ones(2, 3), 2 * torch.ones(1, 5)])
    assert rows.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [2, 2, 2, 2, 2]]
