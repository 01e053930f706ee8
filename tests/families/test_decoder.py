"""Decoders compute logits where targets are and read an input once, and the numbers are those of the plain way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

from deltaspace.backbone import make_backbone
from deltaspace.deltas import AttachedDelta, attach, make_delta
from deltaspace.families import packing
from deltaspace.families.logits import logits_at
from deltaspace.scoring import score
from deltaspace.tasks import Example, make_task
from tests.tiny import VOCABULARY, tiny_backbone, tiny_tokenizer

DELTAS = {
    "adapter": {"bottleneck": 2},
    "lora": {"r": 2},
    "prefix": {"tokens": 3},
    "apet": {"count": 200},
    "finetune": {},
    "prompt": {"peft": "PROMPT_TUNING", "num_virtual_tokens": 3},
    "p": {"peft": "P_TUNING", "num_virtual_tokens": 3, "encoder_hidden_size": 8},
    "peft-prefix": {"peft": "PREFIX_TUNING", "num_virtual_tokens": 3},
    "ia3": {"peft": "IA3"},
    "dora": {"peft": "LORA", "r": 2, "use_dora": True},
    "head": {"method": "lora", "r": 2, "target_modules": ["lm_head"]},
}
OPTIONS = (("good", "bad film", "very dull plot"), ("happy", "not sad and very happy"), ("a", "the", "fine", "poor film"))
INPUTS = ("good", "the film was very dull and bad", "a plot")
evaluate = AttachedDelta.evaluate
_COMMON = {"vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "head_dim": 4,
}


def choice():
    rows = [Example(text, options[-1], options) for text, options in zip(INPUTS, OPTIONS, strict=True)]
    return make_task("choice", {"train": rows, "dev": rows, "test": rows}, source="here")


def written():
    rows = [Example(text, options[-1]) for text, options in zip(INPUTS, OPTIONS, strict=True)]
    return make_task("written", {"train": rows, "dev": rows, "test": rows}, source="here", kind="generation")


def moved(attached, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return attached.initial + torch.randn(attached.layout.size, generator=generator)


def attached_to(name, backbone):
    return AttachedDelta(make_delta(name, DELTAS[name]), backbone, seed=3, name=name)


def plain(attached, vector, pairs):
    """Mean log-likelihood of each target behind its input, each pair alone, all logits computed."""

    def one(ids, target):
        row = torch.tensor([ids + target])
        logits = attached.call(
            vector, lambda model: model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False).logits
        )
        return -F.cross_entropy(logits[0, len(ids) - 1 : -1], torch.tensor(target))

    return torch.stack([one(*pair) for pair in pairs])


@pytest.fixture(params=["llama", "gpt2"])
def decoder(request):
    return tiny_backbone(request.param)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("name", DELTAS)
def test_scores_and_losses_are_those_of_the_plain_way(name, decoder):
    if name == "head" and decoder.name == "gpt2":
        pytest.skip("GPT-2's head is tied to its embeddings")
    attached, family = attached_to(name, decoder), decoder.family
    vector = moved(attached)
    assert family._packs
    items = family.encode(choice(), choice().test)
    pairs = [(item.input_ids, ids) for item in items for ids in item.candidate_ids]
    with torch.no_grad():
        expected = plain(attached, vector, pairs).split([len(item.candidate_ids) for item in items])
        assert not plain(attached, attached.initial + 0 * vector, pairs).allclose(torch.cat(expected), atol=3e-4)
        scores = attached.call(vector, lambda model: family._packed(model, items))
        for row, part in enumerate(expected):
            torch.testing.assert_close(scores[row, : len(part)], part, rtol=0, atol=1e-5)
            assert bool((scores[row, len(part) :] == float("-inf")).all())
        losses = attached.evaluate(vector, family.collate(items)).losses
        gold = [item.choice.gold for item in items]
        of_gold = torch.stack([-part.log_softmax(0)[index] for part, index in zip(expected, gold, strict=True)])
        torch.testing.assert_close(losses, of_gold, rtol=0, atol=1e-5)

        items = family.encode(written(), written().test)
        targets = [(item.input_ids, item.target_ids) for item in items]
        losses = attached.evaluate(vector, family.collate(items)).losses
        torch.testing.assert_close(losses, -plain(attached, vector, targets), rtol=0, atol=1e-5)

        batch = family.collate(items)
        lengths = torch.tensor([len(target) for _, target in targets])
        mean = -(plain(attached, vector, targets) * lengths).sum() / lengths.sum()
        torch.testing.assert_close(attached.loss(vector, batch), mean, rtol=0, atol=1e-5)

        def next_token(model, item):
            return model(input_ids=torch.tensor([item.input_ids]), use_cache=False).logits[0, -1].softmax(0).sqrt()

        roots = torch.stack([attached.call(vector, lambda model, item=item: next_token(model, item)) for item in items])
        torch.testing.assert_close(attached.decision(vector, batch), roots, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["adapter", "lora", "prefix", "head"])
@pytest.mark.parametrize("make", [choice, written])
def test_several_vectors_in_one_batch_give_what_each_gives_alone(name, make, decoder):
    if name == "head" and decoder.name == "gpt2":
        pytest.skip("GPT-2's head is tied to its embeddings")
    attached, family = attached_to(name, decoder), decoder.family
    vectors = torch.stack([moved(attached, seed) for seed in (1, 2)])
    items = family.encode(make(), make().test)
    with torch.no_grad():
        together = attached.evaluate(vectors, family.collate(items * 2))
        alone = [attached.evaluate(vector, family.collate(items)) for vector in vectors]
        torch.testing.assert_close(together.losses, torch.cat([part.losses for part in alone]), rtol=0, atol=1e-5)
        assert together.predictions == [text for part in alone for text in part.predictions]
        assert not alone[0].losses.allclose(alone[1].losses, atol=1e-3)


def test_examples_of_like_length_are_scored_together(decoder, monkeypatch):
    monkeypatch.setattr("deltaspace.scoring._BATCH", 2)
    short, long = Example("the film was very", "good", ("good", "bad")), Example("a", "bad", ("good film " * 4, "bad"))
    rows = [short, long] * 2
    task, seen = make_task("mixed", {"train": rows, "dev": rows, "test": rows}, source="here"), []
    attached = attached_to("lora", decoder)
    monkeypatch.setattr(
        AttachedDelta,
        "evaluate",
        lambda self, vector, batch: seen.append([i.length for i in batch.items]) or evaluate(self, vector, batch),
    )
    assert score(attached, task, attached.initial).count == 4
    assert [sorted(set(lengths)) for lengths in seen] == [[seen[0][0]], [seen[1][0]]] and seen[0][0] < seen[1][0]


def test_gradients_are_those_of_all_logits(decoder):
    attached, family = attached_to("lora", decoder), decoder.family
    vector = moved(attached).requires_grad_()
    items = family.encode(written(), written().test)
    attached.loss(vector, family.collate(items)).backward()
    mine, vector.grad = vector.grad, None
    targets = [(item.input_ids, item.target_ids) for item in items]
    lengths = torch.tensor([len(target) for _, target in targets])
    (-(plain(attached, vector, targets) * lengths).sum() / lengths.sum()).backward()
    torch.testing.assert_close(mine, vector.grad, rtol=1e-4, atol=1e-5)
    assert mine.abs().max() > 1e-3


def test_the_way_does_not_depend_on_the_precision_in_which_it_is_first_asked_for(decoder):
    kinds = []
    decoder.model.register_forward_hook(lambda module, given, output: kinds.append(output.logits.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder.family._packs
    assert set(kinds) == {torch.float32}


def test_many_candidates_take_several_passes_with_the_same_scores(decoder, monkeypatch):
    family, items = decoder.family, decoder.family.encode(choice(), choice().test)
    with torch.no_grad():
        whole = family._packed(decoder.model, items)
        monkeypatch.setattr(packing, "_LOGITS", 1)
        calls = []
        monkeypatch.setattr(packing, "logits_at", lambda *given, **options: calls.append(1) or logits_at(*given, **options))
        torch.testing.assert_close(family._packed(decoder.model, items), whole, rtol=0, atol=1e-5)
    assert len(calls) > 1


def test_an_input_is_read_once_and_logits_are_computed_where_targets_are():
    backbone = tiny_backbone("llama")
    family, read, projected = backbone.family, [], []
    assert family._packs
    backbone.model.get_input_embeddings().register_forward_hook(lambda module, given, output: read.append(given[0].numel()))
    backbone.model.lm_head.register_forward_hook(lambda module, given, output: projected.append(output.shape[:2].numel()))
    items = family.encode(choice(), [choice().test[1]] * 2)
    batch = family.collate(items)
    length, candidates = len(items[0].input_ids), items[0].candidate_ids
    assert items[0].length == length + sum(len(ids) - 1 for ids in candidates)
    with torch.no_grad():
        family.evaluate(backbone.model, batch)
        assert read == [2 * (length + sum(len(ids) - 1 for ids in candidates))]
        assert projected == [2 * (1 + sum(len(ids) - 1 for ids in candidates))]
        projected.clear()
        family.loss(backbone.model, batch)
        family.decision(backbone.model, batch)
        assert projected == [2 * len(items[0].target_ids), 2]
        items = family.encode(written(), [written().test[1]] * 2)
        read.clear()
        evaluation = family.evaluate(backbone.model, family.collate(items))
        # The input once, what is written, and for the loss the input's last token with the target but for its end.
        assert sum(read) <= 2 * (length + items[0].max_new_tokens - 1 + len(items[0].target_ids))
    assert evaluation.losses[0] == evaluation.losses[1]


def other(kind):
    torch.manual_seed(0)
    if kind == "bloom":
        return BloomForCausalLM(BloomConfig(hidden_size=16, n_layer=2, n_head=2, **_COMMON))
    if kind == "gemma2":
        config = Gemma2Config(**_SIZES, **_COMMON, sliding_window=4, final_logit_softcapping=0.5, query_pre_attn_scalar=4)
        return Gemma2ForCausalLM(config)
    return MistralForCausalLM(MistralConfig(**_SIZES, **_COMMON, sliding_window=None if kind == "mistral" else 4))


@pytest.mark.parametrize("kind", ["bloom", "gemma2", "mistral", "mistral with a window", "eager"])
def test_other_architectures_are_read_in_one_row_only_where_that_is_the_same(kind):
    backbone = make_backbone(
        kind, other("mistral" if kind == "eager" else kind), tiny_tokenizer("llama"), family="decoder", device="cpu"
    )
    if kind == "eager":
        backbone.model.set_attn_implementation("eager")
    family = backbone.family
    assert family._packs == (kind == "mistral")
    attached = attach("adapter", backbone, modules=["mlp.down_proj", "mlp.dense_4h_to_h"], bottleneck=2)
    vector = moved(attached)
    with torch.no_grad():
        items = family.encode(choice(), choice().test)
        pairs = [(item.input_ids, ids) for item in items for ids in item.candidate_ids]
        expected = plain(attached, vector, pairs).split([len(item.candidate_ids) for item in items])
        of_gold = torch.stack([-part.log_softmax(0)[item.choice.gold] for part, item in zip(expected, items, strict=True)])
        torch.testing.assert_close(attached.evaluate(vector, family.collate(items)).losses, of_gold, rtol=0, atol=1e-5)
        items = family.encode(written(), written().test)
        losses = attached.evaluate(vector, family.collate(items)).losses
        torch.testing.assert_close(
            losses, -plain(attached, vector, [(i.input_ids, i.target_ids) for i in items]), rtol=0, atol=1e-5
        )
