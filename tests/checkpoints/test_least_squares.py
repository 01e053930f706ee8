"""What adds to no weights as a LoRA in closed form, from the outputs of the sublayers."""

from __future__ import annotations

import pytest
import torch

from deltaspace.checkpoints import convert, least_squares
from deltaspace.checkpoints.closed_form import closed_forms
from deltaspace.checkpoints.followed import Followed
from deltaspace.checkpoints.least_squares import sublayer_updates
from deltaspace.deltas import Lora, attach
from deltaspace.deltas.adapter import SUBLAYERS, sublayer_ends
from tests.checkpoints.test_convert import SHORT, tuned
from tests.tiny import tiny_backbone, tiny_task

HOW = "least squares of the sublayers' outputs"
ARCHITECTURES = ["sentence", "bert", "t5", "gpt2", "llama"]


def ends_of(backbone):
    return sublayer_ends(backbone.model, SUBLAYERS[backbone.model.config.model_type])


def linear_ends_of(backbone):
    """T5's feed-forward network ends in a module around its last linear map."""
    return [end for end in ends_of(backbone) if not end.endswith("DenseReluDense")]


def items_of(backbone):
    return backbone.family.encode(tiny_task(), tiny_task().train)


def target_for(source, rank):
    """A LoRA at the ends of all sublayers."""
    return attach("lora", source[0].backbone, r=rank, target_modules=tuple(linear_ends_of(source[0].backbone)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_update_of_low_rank_is_recovered(architecture, monkeypatch):
    monkeypatch.setattr(least_squares, "_RIDGE", 1e-5)
    backbone = tiny_backbone(architecture)
    ends = linear_ends_of(backbone)
    source = attach("lora", backbone, r=2, target_modules=tuple(ends))
    torch.manual_seed(0)
    parameters = source.initial + 0.1 * torch.randn_like(source.initial)
    items = items_of(backbone)
    followed = source, parameters
    made = sublayer_updates(followed, target_for(followed, 2), ends_of(backbone), dict.fromkeys(ends, 2), items)
    merged = dict(source.delta.merge(source, parameters).named_parameters())
    plain = dict(backbone.model.named_parameters())
    assert set(made) == set(ends)
    for name in ends:
        wanted = merged[f"{name}.weight"] - plain[f"{name}.weight"]
        if source.model.get_submodule(name).fan_in_fan_out:
            wanted = wanted.T
        reached = sublayer_inputs(source, parameters, name, items)
        # Only what the inputs of a tiny model span can be told; an encoder-decoder's tokens are few.
        torch.testing.assert_close(
            reached @ made[name].T, reached @ wanted.T, rtol=0, atol=1e-2 * float((reached @ wanted.T).norm())
        )


def sublayer_inputs(attached, parameters, name, items):
    """What goes into a module under the source, where its other sublayers are changed too."""
    kept = []
    handle = attached.model.get_submodule(name).register_forward_hook(lambda module, given, output: kept.append(given[0]))
    with torch.no_grad():
        for item in items:
            attached.decision(parameters, attached.backbone.family.collate([item]))
    handle.remove()
    return torch.cat([rows.flatten(0, -2) for rows in kept])


# Not of the tiny BERT's head, which a little of each sublayer turns around.
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "bert"])
@pytest.mark.parametrize("name", ["adapter", "prefix"])
def test_the_start_is_nearer_than_the_plm(name, architecture):
    source = tuned(name, architecture)
    target, items = target_for(source, 4), items_of(source[0].backbone)
    [(start, how)] = closed_forms(source, target, items)
    assert how == HOW
    assert Followed(source, target, items, False).missed(start) < 0.5


def test_trained_prompts_are_followed_at_the_texts_own_tokens():
    source = tuned("p", "bert")
    target, items = target_for(source, 4), items_of(source[0].backbone)
    [(start, how)] = closed_forms(source, target, items)
    assert how == HOW and Followed(source, target, items, False).missed(start) < 1


def test_modules_whose_sums_are_too_many_take_passes_of_their_own(monkeypatch):
    source = tuned("adapter")
    target, items = target_for(source, 2), items_of(source[0].backbone)
    ends = dict.fromkeys(ends_of(source[0].backbone), 2)
    together = sublayer_updates(source, target, list(ends), ends, items)
    monkeypatch.setattr(least_squares, "_SUMS", 1)
    for name, update in sublayer_updates(source, target, list(ends), ends, items).items():
        torch.testing.assert_close(update, together[name])


def test_padding_does_not_count(monkeypatch):
    # In fp64: padding changes what fp32 rounds.
    attached, parameters = tuned("prefix")
    attached.backbone.model.double()
    source = attached, parameters.double()
    items, ends = items_of(source[0].backbone), dict.fromkeys(ends_of(source[0].backbone), 2)
    assert len({len(item.input_ids) for item in items}) > 1
    target = target_for(source, 2)
    together = sublayer_updates(source, target, list(ends), ends, items)
    monkeypatch.setattr(least_squares, "_PASS", 1)
    for name, update in sublayer_updates(source, target, list(ends), ends, items).items():
        torch.testing.assert_close(update, together[name], rtol=1e-3, atol=1e-5)


def test_a_lora_elsewhere_has_none():
    source = tuned("adapter")
    target = attach("lora", source[0].backbone, r=2, target_modules=("query",))
    assert not list(closed_forms(source, target, items_of(source[0].backbone)))


def test_a_start_that_is_farther_than_the_plm_is_not_taken(monkeypatch):
    monkeypatch.setattr(
        "deltaspace.checkpoints.conversion.closed_forms", lambda source, target, items: iter([(target.initial + 5.0, "far")])
    )
    made = convert(tuned("adapter"), Lora(r=2), tiny_task(), SHORT)
    assert made.start == "its initial vector" and made.before.missed == pytest.approx(1.0)


ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("name", "settings", "rank", "modules", "nearest"),
    [("finetune", None, 1, ALL[3::3], HOW), ("lora", {"r": 3}, 32, ALL, "the truncated SVD of the difference of the weights")],
)
def test_of_several_closed_forms_the_nearest_is_taken(name, settings, rank, modules, nearest):
    """The SVD of a difference of many ranks leaves the more out the fewer are kept; what sublayers give may be told in few."""
    source, task = tuned(name, "llama", scale=1.0, settings=settings), tiny_task()
    target = attach("lora", source[0].backbone, r=rank, target_modules=modules)
    judged = Followed(source, target, source[0].backbone.family.encode(task, task.dev), False)
    near = {how: judged.missed(start) for start, how in closed_forms(source, target, items_of(source[0].backbone))}
    assert len(near) == 2 and min(near, key=near.get) == nearest
    made = convert(source, target, task, SHORT)
    assert made.start == nearest and made.before.missed == pytest.approx(near[nearest], rel=1e-3, abs=1e-6)
