"""Conversion: the target comes to compute what the source does, without labels, and goes on where it was killed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deltaspace.checkpoints import Conversion, convert
from deltaspace.checkpoints.closed_form import closed_forms
from deltaspace.checkpoints.conversion_inputs import conversion_inputs
from deltaspace.checkpoints.converting import convert_to_folder
from deltaspace.checkpoints.function import Function, function_of, states_of
from deltaspace.deltas import AttachedDelta, Lora, attach, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.scoring import score
from deltaspace.training import Resume
from tests.deltas.test_peft_methods import METHODS, moved
from tests.tiny import tiny_backbone, tiny_task

SHORT = Conversion(steps=20, lr=0.02, batch_size=8, evaluate_every=5, held_out=8)
SOURCES = {
    "prefix": {"tokens": 3},
    "adapter": {"bottleneck": 3},
    "ia3": {"peft": "IA3"},
    "finetune": {"lr_factor": 0.002},
    "apet": {"count": 60},
    "p": METHODS["p"],
}
TEXTS = [example.input for example in tiny_task().train]


def tuned(name, architecture="bert", scale=None, settings=None):
    """A delta far from where it starts, and its parameters. An adapter of a tiny model does little."""
    scale = scale or (40.0 if name == "adapter" else 3.0)
    attached = AttachedDelta(make_delta(name, settings or SOURCES[name]), tiny_backbone(architecture), name=name)
    return attached, attached.initial + scale * (moved(attached) - attached.initial)


@pytest.mark.parametrize("architecture", ["sentence", "bert", "t5", "gpt2", "llama"])
@pytest.mark.parametrize("name", ["prefix", "adapter", "finetune"])
def test_a_lora_comes_to_compute_what_the_source_does(name, architecture):
    made = convert(tuned(name, architecture), Lora(r=2), tiny_task(), SHORT)
    assert made.after.missed < made.before.missed
    assert made.after.missed == pytest.approx(made.fit.best.loss, rel=1e-4)
    assert made.after.inputs == 8 and made.inputs == 24 and 0 <= made.after.same <= 1
    assert (made.after.divergence is None) == (architecture == "sentence")
    assert made.scores.target == score(made.attached, tiny_task(), made.parameters)


@pytest.mark.parametrize("target", ["adapter", "prefix", "finetune", "apet", "ia3", "p"])
def test_any_delta_is_a_target(target):
    source = tuned("adapter")
    made = convert(source, AttachedDelta(make_delta(target, SOURCES[target]), source[0].backbone), tiny_task(), SHORT)
    assert made.after.missed < 1.0


@pytest.mark.parametrize(("rank", "name"), [(2, "lora"), (4, "lora"), (16, "finetune")])
def test_what_the_closed_form_can_say_whole_is_not_tuned(rank, name):
    source = tuned("lora", settings={"r": 2}, scale=1.0)
    if name == "finetune":
        followed = attach("finetune", source[0].backbone, parameters=("*.query.weight",))
        source = followed, moved(followed)
    made = convert(source, Lora(r=rank, target_modules=("query", "value")), tiny_task(), SHORT)
    assert made.fit is None and made.after.missed <= SHORT.enough and made.after.same == 1.0
    assert made.start != "its initial vector"


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_the_closed_form_is_the_nearest_of_its_rank(architecture):
    source = tuned("finetune", architecture, scale=1.0)
    target = attach("lora", source[0].backbone, r=2)
    start, _ = next(closed_forms(source, target, ()))
    made, merged = target.delta.merge(target, start), source[0].delta.merge(*source)
    for name, _ in target.layout.entries:
        if ".lora_A." in name:
            weight = name.split(".lora_A.")[0] + ".weight"
            plain, wanted, given = (dict(m.named_parameters())[weight] for m in (source[0].backbone.model, merged, made))
            left = torch.linalg.svdvals(wanted - plain)[2:].norm()
            torch.testing.assert_close((wanted - given).norm(), left, rtol=1e-3, atol=1e-5)


def test_a_source_that_changes_nothing_is_followed_at_once():
    adapter = attach("adapter", tiny_backbone("bert"), bottleneck=3)
    made = convert((adapter, adapter.initial), Lora(r=2), tiny_task(), SHORT)
    assert made.fit is None and made.before.missed < 1e-9 and made.after.same == 1.0


def test_fine_tuning_takes_all_that_a_lora_adds():
    source = tuned("lora", settings={"r": 2}, scale=1.0)
    made = convert(source, attach("finetune", source[0].backbone), tiny_task(), SHORT)
    assert made.fit is None and made.start == "the source's weights"


def test_no_label_is_read_but_for_scores():
    source, task = tuned("adapter"), tiny_task()
    other = {"happy": "sad", "sad": "happy"}

    def turned(examples):
        return tuple(replace(example, target=other[example.target]) for example in examples)

    against = replace(task, train=turned(task.train), dev=turned(task.dev))
    first, second = (convert(source, Lora(r=2), each, SHORT) for each in (task, against))
    assert first.parameters.equal(second.parameters) and first.after == second.after


@pytest.mark.parametrize("architecture", ["sentence", "gpt2", "t5"])
def test_mere_texts_will_do(architecture):
    source = tuned("adapter", architecture)
    made = convert(source, Lora(r=2), TEXTS, SHORT)
    assert made.after.missed < made.before.missed and made.scores is None
    assert (made.after.same is None) == (architecture == "sentence")
    again = convert(source, Lora(r=2), TEXTS, SHORT)
    assert made.parameters.equal(again.parameters)
    assert not made.parameters.equal(convert(source, Lora(r=2), TEXTS[:8], SHORT).parameters)


def test_the_source_decides_once(monkeypatch):
    source = tuned("adapter")
    passes = []
    decide = AttachedDelta.decision
    monkeypatch.setattr(AttachedDelta, "decision", lambda self, *rest: passes.append(self.name) or decide(self, *rest))
    convert(source, Lora(r=2), tiny_task(), SHORT)
    assert passes.count("adapter") == 2 and passes.count("lora") > SHORT.steps


def test_a_killed_conversion_ends_with_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.training.loop._SAVE_SECONDS", -1.0)
    source = tuned("prefix")
    whole = convert(source, Lora(r=2), tiny_task(), SHORT)
    made = {"settings": SHORT, "told": ("a prefix", "texts")}

    def killed(done, total, text):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_to_folder(source, ("lora", Lora(r=2)), tiny_task(), tmp_path / "out", **made, progress=killed)
    assert [path.name for path in tmp_path.iterdir()] == [".out.converting.safetensors"]
    steps = []
    resumed = convert_to_folder(
        source, ("lora", Lora(r=2)), tiny_task(), tmp_path / "out", **made, progress=lambda done, *_: steps.append(done)
    )
    # The closed form and what the source decides are told first.
    assert next(step for step in steps if step) > 10
    assert resumed.parameters.equal(whole.parameters) and resumed.fit.curve == whole.fit.curve
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "converted by deltaspace" in card and "held-out inputs" in card and "accuracy on 8 examples" in card


def test_a_state_of_another_conversion_is_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr("deltaspace.training.loop._SAVE_SECONDS", -1.0)
    resume = Resume(tmp_path / "state", "one")
    first = convert(tuned("prefix"), Lora(r=2), tiny_task(), SHORT, resume=resume)
    assert (tmp_path / "state").exists()
    second = convert(tuned("adapter"), Lora(r=2), tiny_task(), SHORT, resume=Resume(tmp_path / "state", "another"))
    assert second.parameters.equal(convert(tuned("adapter"), Lora(r=2), tiny_task(), SHORT).parameters)
    assert not second.parameters.equal(first.parameters)


def test_few_kept_features_tell_less_than_all_never_more():
    generator = torch.Generator().manual_seed(0)
    roots = torch.rand(2, 5, 12, generator=generator).softmax(2).sqrt()
    whole = Function(roots[0])
    largest = roots[0].topk(4, dim=1)
    kept = Function(largest.values, largest.indices)
    for name in ("distance", "divergence"):
        all_told, told = getattr(whole, name)(roots[1]), getattr(kept, name)(roots[1])
        assert (told <= all_told + 1e-6).all() and (told > 0).all()
        torch.testing.assert_close(getattr(kept, name)(roots[0]), torch.zeros(5), atol=1e-5, rtol=0)
    assert kept.likeliest().equal(whole.likeliest()) and kept.rows([3, 1]).values.equal(largest.values[[3, 1]])


def test_a_vocabulary_is_kept_in_part(monkeypatch):
    monkeypatch.setattr("deltaspace.checkpoints.function._KEPT", 5)
    source, task = tuned("adapter", "gpt2"), tiny_task()
    items = source[0].backbone.family.encode(task, task.train)
    assert function_of(*source, items).values.shape == (24, 5)
    made = convert(source, Lora(r=2), task, SHORT)
    assert made.after.missed < made.before.missed


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_what_writes_decides_at_every_token_that_it_may_write(architecture):
    source, task = tuned("adapter", architecture), tiny_task()
    items = source[0].backbone.family.encode(task, task.train[:2])
    beginnings = {tuple(ids[:end]) for ids in items[0].candidate_ids for end in range(len(ids))}
    states = states_of(*source, items)[: len(beginnings)]
    assert [state.begun for state in states] == [list(ids) for ids in sorted(beginnings, key=lambda ids: (len(ids), ids))]
    assert {tuple(state.input_ids) for state in states} == {tuple(items[0].input_ids)}
    plain = replace(task, kind="generation", labels={})
    written = states_of(*source, source[0].backbone.family.encode(plain, task.train[:2]))
    assert 2 <= len(written) <= 16 and any(state.begun for state in written)


def test_mistakes_are_told():
    source = tuned("adapter")
    with pytest.raises(DeltaspaceError, match="on two models"):
        convert(source, attach("lora", tiny_backbone("bert"), r=2), tiny_task(), SHORT)
    with pytest.raises(DeltaspaceError, match="decides among label words"):
        convert(source, Lora(r=2), TEXTS, SHORT)
    for texts, message in ((["good film"], "at least two inputs"), (["good film", " "], "input 2 is empty")):
        with pytest.raises(DeltaspaceError, match=message):
            convert(tuned("adapter", "gpt2"), Lora(r=2), texts, SHORT)


def test_no_text_is_both_tuned_on_and_held_out():
    source = tuned("adapter", "sentence")
    made = convert(source, Lora(r=2), [*TEXTS[:6], *TEXTS[:6]], SHORT)
    assert made.inputs + made.after.inputs == len(set(TEXTS[:6]))
    with pytest.raises(DeltaspaceError, match="two inputs that differ"):
        convert(source, Lora(r=2), [TEXTS[0]] * 5, SHORT)


@pytest.mark.parametrize("inputs", ["films.csv", [1, 2], ["a text", None]])
def test_what_is_no_list_of_texts_is_refused(inputs):
    with pytest.raises((DeltaspaceError, TypeError), match="inputs"):
        convert(tuned("adapter", "sentence"), Lora(r=2), inputs, SHORT)


def test_a_csv_file_is_a_task(tmp_path):
    lines = [f"a text of {index},{'yes' if index % 2 else 'no'}" for index in range(40)]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    task = conversion_inputs(str(tmp_path / "films.csv"), SHORT)
    assert sorted(task.labels) == ["no", "yes"] and all("," not in example.input for example in task.train)


def test_steps_are_as_long_as_what_is_left_to_learn(monkeypatch):
    lengths = []

    def fit(starts, loss, evaluate, settings, **_):
        lengths.append(settings.lr)
        raise KeyboardInterrupt

    monkeypatch.setattr("deltaspace.checkpoints.conversion.fit", fit)
    source = tuned("lora", settings={"r": 4}, scale=1.0)
    for closed in (False, True):
        with pytest.raises(KeyboardInterrupt):
            convert(source, Lora(r=3), tiny_task(), SHORT.model_copy(update={"closed_form": closed}))
    assert lengths[0] == pytest.approx(SHORT.lr) and 0 < lengths[1] < 0.9 * lengths[0]
