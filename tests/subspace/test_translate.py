"""Translation: the second delta comes to compute what the first does, without labels, and goes on where it was killed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.subspace import Translation, approximate, translate
from deltaspace.training import Resume
from tests.tiny import tiny_backbone, tiny_task

SHORT = Translation(steps=20, lr=0.1, batch_size=8, evaluate_every=5, held_out=8)


def made(architecture="bert"):
    plm = tiny_backbone(architecture)
    deltas = attach("lora", plm, r=2), attach("adapter", plm, bottleneck=3)
    subspace = approximate(deltas, [], [], dim=6, projection="gaussian")
    return subspace, deltas, 3 * torch.ones(6)


@pytest.mark.parametrize("architecture", ["sentence", "bert", "t5", "gpt2"])
def test_the_target_comes_to_compute_what_the_source_does(architecture):
    subspace, deltas, vector = made(architecture)
    moved = translate(subspace, vector, deltas, tiny_task(), SHORT)
    assert moved.after < moved.before
    assert (moved.source, moved.delta) == ("lora", "adapter")
    assert not torch.equal(moved.vector, vector)


def test_no_label_is_read():
    subspace, deltas, vector = made()
    other = {"happy": "sad", "sad": "happy"}
    task = tiny_task()
    turned = replace(task, train=tuple(replace(example, target=other[example.target]) for example in task.train))
    first, second = (translate(subspace, vector, deltas, each, SHORT).vector for each in (task, turned))
    assert torch.equal(first, second)


@pytest.mark.parametrize("architecture", ["t5", "gpt2"])
def test_a_written_answer_is_followed_to_its_end(architecture):
    subspace, (lora, adapter), vector = made(architecture)
    task = replace(tiny_task(), kind="generation", labels={})
    moved = translate(subspace, vector, (lora, adapter), task, SHORT)
    assert moved.after < moved.before
    # The first token alone would not tell: what is missed counts those behind it.
    followed, tuned = subspace.decode("lora", vector), subspace.decode("adapter", moved.vector)
    items = lora.written(followed, lora.backbone.family.encode(task, task.train), 16)
    assert max(len(item.target_ids) for item in items) > 1
    batch = lora.backbone.family.collate(items)
    with torch.no_grad():
        apart = [
            (delta.answer(rows, batch) - lora.answer(followed, batch)).square().sum(1).mean()
            for delta, rows in ((adapter, tuned), (adapter, adapter.initial))
        ]
    assert apart[0] < apart[1]


def test_no_written_label_is_read():
    subspace, deltas, vector = made("gpt2")
    other = {"happy": "sad", "sad": "happy"}
    task = replace(tiny_task(), kind="generation", labels={})
    turned = replace(task, train=tuple(replace(example, target=other[example.target]) for example in task.train))
    first, second = (translate(subspace, vector, deltas, each, SHORT).vector for each in (task, turned))
    assert torch.equal(first, second)


def test_any_texts_will_do():
    subspace, deltas, vector = made()
    texts = [example.input for example in tiny_task().train]
    given = translate(subspace, vector, deltas, tiny_task(), SHORT, inputs=texts).vector
    assert torch.equal(given, translate(subspace, vector, deltas, tiny_task(), SHORT).vector)
    assert not torch.equal(given, translate(subspace, vector, deltas, tiny_task(), SHORT, inputs=texts[:6]).vector)


def test_a_killed_translation_ends_with_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.training.loop._SAVE_SECONDS", -1.0)
    subspace, deltas, vector = made()
    whole = translate(subspace, vector, deltas, tiny_task(), SHORT)

    def killed(done, total, text):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate(subspace, vector, deltas, tiny_task(), SHORT, resume=Resume(tmp_path / "state", "x", killed))
    resumed = translate(subspace, vector, deltas, tiny_task(), SHORT, resume=Resume(tmp_path / "state", "x"))
    assert torch.equal(resumed.vector, whole.vector)
    assert resumed.fit.curve == whole.fit.curve


def test_mistakes_are_told():
    subspace, deltas, vector = made()
    with pytest.raises(DeltaspaceError, match="to itself"):
        translate(subspace, vector, (deltas[0], deltas[0]), tiny_task())
    with pytest.raises(DeltaspaceError, match="at least two inputs"):
        translate(subspace, vector, deltas, tiny_task(), inputs=["good film"])
    with pytest.raises(DeltaspaceError, match="input 2 is empty"):
        translate(subspace, vector, deltas, tiny_task(), inputs=["good film", " "])


def test_both_starts_are_tuned_and_what_misses_less_is_kept():
    subspace, deltas, vector = made()
    task = tiny_task()
    moved = translate(subspace, vector, deltas, task, SHORT)
    each = {
        start: translate(subspace, vector, deltas, task, SHORT.model_copy(update={"starts": (start,)}))
        for start in ("transferred", "mean")
    }
    assert [each[start].start for start in each] == ["transferred", "mean"]
    best = min(each.values(), key=lambda single: single.after)
    assert moved.start == best.start
    # As if each were alone.
    assert moved.after == pytest.approx(best.after, abs=1e-5)
    assert torch.allclose(moved.vector, best.vector, atol=1e-4)
    # What transfer misses is told wherever it began.
    assert moved.before == each["mean"].before == each["transferred"].before > moved.after
