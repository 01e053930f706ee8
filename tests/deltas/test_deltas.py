"""Every delta on every architecture: layout, no-ops, gradients, applying as training natively, generation."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2ForMaskedLM

from deltaspace.backbone import make_backbone
from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from tests.tiny import VOCABULARY, tiny_backbone, tiny_task, tiny_tokenizer

SETTINGS = {"adapter": {"bottleneck": 3}, "lora": {"r": 2}, "prefix": {"tokens": 4}, "apet": {"count": 200}}


@pytest.fixture(params=list(SETTINGS))
def attached(request, backbone):
    return attach(request.param, backbone, seed=3, **SETTINGS[request.param])


def batch_of(backbone):
    task = tiny_task()
    return backbone.family.collate(backbone.family.encode(task, task.train[:6]))


def nonzero(attached):
    generator = torch.Generator().manual_seed(1)
    return attached.initial + 0.1 * torch.randn(attached.layout.size, generator=generator)


def test_layout_has_every_parameter_once(attached):
    parameters = dict(attached.model.named_parameters())
    shared = {id(p) for p in attached.backbone.model.parameters()}
    new = [name for name, p in parameters.items() if id(p) not in shared]
    assert sorted(new) == sorted(name for name, _ in attached.layout.entries)
    assert attached.layout.size == sum(parameters[name].numel() for name in new) == len(attached.initial)


def test_initial_vector_follows_the_seed(attached):
    again = attach(attached.delta, attached.backbone, seed=3)
    other = attach(attached.delta, attached.backbone, seed=4)
    assert attached.initial.equal(again.initial)
    if attached.name == "apet":  # it starts at zero; its positions follow the seed
        vector, batch = nonzero(attached), batch_of(attached.backbone)
        assert attached.loss(vector, batch).equal(again.loss(vector, batch))
        assert not attached.loss(vector, batch).equal(other.loss(vector, batch))
    else:
        assert not attached.initial.equal(other.initial)


def test_gradients_reach_every_parameter_and_no_weight(attached):
    vector = nonzero(attached).requires_grad_()
    before = {name: p.clone() for name, p in attached.backbone.model.named_parameters()}
    attached.loss(vector, batch_of(attached.backbone)).backward()
    for name, gradient in attached.layout.split(vector.grad).items():
        assert gradient.abs().max() > 0, name
    for name, parameter in attached.backbone.model.named_parameters():
        assert parameter.grad is None
        assert parameter.equal(before[name])


def test_initial_adapter_and_lora_change_nothing(attached):
    if attached.name == "prefix":
        pytest.skip("a prefix always takes part in the attention")
    backbone, batch = attached.backbone, batch_of(attached.backbone)
    plain = backbone.family.loss(backbone.model, batch)
    assert attached.loss(attached.initial, batch).equal(plain)


def test_applying_a_vector_is_training_natively(attached):
    """Three steps of Adam on the flat vector give what three steps on the model's own parameters give."""
    batch = batch_of(attached.backbone)
    vector = nonzero(attached).requires_grad_()
    native = {name: p for name, p in attached.model.named_parameters() if name in dict(attached.layout.entries)}
    start = attached.layout.split(vector.detach().clone())
    for name, parameter in native.items():
        parameter.data.copy_(start[name])
        parameter.requires_grad_()
    ours, theirs = torch.optim.Adam([vector], lr=0.01), torch.optim.Adam(native.values(), lr=0.01)
    for _ in range(3):
        ours.zero_grad()
        theirs.zero_grad()
        applied, trained = attached.loss(vector, batch), attached.backbone.family.loss(attached.model, batch)
        assert applied.item() == pytest.approx(trained.item(), rel=1e-5)
        applied.backward()
        trained.backward()
        ours.step()
        theirs.step()
    torch.testing.assert_close(vector.detach(), attached.layout.flatten(native).detach(), rtol=1e-3, atol=1e-4)


def test_predictions_and_generation(attached):
    family, task = attached.backbone.family, tiny_task()
    items = family.encode(task, task.test)
    evaluation = attached.evaluate(nonzero(attached), family.collate(items))
    assert set(evaluation.predictions) <= {"happy", "sad"}
    assert evaluation.losses.shape == (len(items),)
    if family.name in ("encoder_decoder", "decoder"):
        written = tiny_task(kind="generation")
        batch = family.collate(family.encode(written, written.test))
        with torch.no_grad():
            generated = attached.evaluate(nonzero(attached), batch)
        assert len(generated.predictions) == len(written.test)
        assert torch.isfinite(generated.losses).all()


def test_decoding_with_a_cache_is_decoding_without(backbone):
    """A prefix stands before the cached keys at every step, so that generated text does not depend on the cache."""
    if backbone.family.name not in ("encoder_decoder", "decoder"):
        pytest.skip("this family does not generate")
    prefix = attach("prefix", backbone, tokens=4)
    vector = nonzero(prefix) * 3
    batch = batch_of(backbone).inputs
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}

    def generate(cached: bool):
        return prefix.call(
            vector, lambda m: m.generate(**inputs, max_new_tokens=6, do_sample=False, use_cache=cached, pad_token_id=0)
        )

    with torch.no_grad():
        assert generate(True).equal(generate(False))


def test_a_decoder_with_a_prefix_stays_causal():
    backbone = tiny_backbone("gpt2")
    prefix = attach("prefix", backbone, tokens=4)
    ids = torch.tensor([[5, 6, 7, 8]])
    changed = torch.tensor([[5, 6, 9, 10]])
    first, second = (prefix.call(prefix.initial, lambda m, i=i: m(input_ids=i).logits) for i in (ids, changed))
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not first[:, 2:].allclose(second[:, 2:])


def test_a_batch_of_several_vectors_is_one_by_one(attached):
    """Loss and gradients of grouped vectors are those of each vector on its own part of the batch."""
    family, task = attached.backbone.family, tiny_task()
    items = family.encode(task, task.train)[:6]
    vectors = torch.stack([nonzero(attached), 2 * nonzero(attached) - attached.initial, attached.initial]).requires_grad_()
    together = attached.loss(vectors, family.collate(items))
    (gradient,) = torch.autograd.grad(together, vectors)
    losses, gradients = [], []
    for row, vector in enumerate(vectors):
        # The same padding as in the whole batch.
        batch = part_of(family.collate(items), 2 * row, 2 * row + 2)
        loss = attached.loss(vector, batch)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, vectors)[0][row] / 3)
    assert together.item() == pytest.approx(sum(loss.item() for loss in losses) / 3, rel=1e-5)
    torch.testing.assert_close(gradient, torch.stack(gradients), rtol=1e-4, atol=1e-6)


def part_of(batch, start, stop):
    """Rows of a batch, which is a dataclass of lists, tensors and named tuples of these."""
    if is_dataclass(batch):
        return replace(batch, **{f.name: part_of(getattr(batch, f.name), start, stop) for f in fields(batch)})
    if isinstance(batch, tuple):
        return type(batch)(*(part_of(value, start, stop) for value in batch))
    return batch[start:stop]


def test_deltas_share_one_copy_of_the_weights(backbone):
    models = [attach(name, backbone, **SETTINGS[name]).model for name in SETTINGS]
    stored = {p.data_ptr() for p in backbone.model.parameters()}
    assert all(stored <= {p.data_ptr() for p in model.parameters()} for model in models)


def test_a_model_whose_attention_takes_no_prefix_is_refused():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    deberta = DebertaV2ForMaskedLM(DebertaV2Config(vocab_size=len(VOCABULARY), **sizes))
    backbone = make_backbone("deberta", deberta, tiny_tokenizer("bert"), family="masked_encoder", device="cpu")
    with pytest.raises(DeltaspaceError, match="cannot take a prefix"):
        attach("prefix", backbone)


def test_modules_that_are_not_there_are_refused():
    backbone = tiny_backbone("bert")
    with pytest.raises(DeltaspaceError, match="no module"):
        attach("adapter", backbone, modules=("nothing",))
    with pytest.raises(DeltaspaceError, match="does not fit"):
        attach("lora", backbone, target_modules=("nothing",))
    with pytest.raises(DeltaspaceError, match="no delta"):
        attach("nothing", backbone)
