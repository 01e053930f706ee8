"""Chats, named labels and shown examples: what a decoder reads, and what chat templates may do."""

from __future__ import annotations

import pytest
import torch

from deltaspace.backbone import load_backbone, make_backbone
from deltaspace.errors import DeltaspaceError
from deltaspace.families import PLAIN, Prompting, chat
from deltaspace.families.prompting import question
from deltaspace.study import load_recipe
from deltaspace.tasks import Example, make_task
from tests.gguf import tiny_llama, write_gguf
from tests.tiny import FAMILY, model, tiny_task, tiny_tokenizer, write_example

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<s> dull {% endif %}"
    "{% for m in messages %}<mask> {{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<mask> assistant : {% endif %}"
)


def decoder(prompting, template=TEMPLATE, max_length=64):
    tokenizer = tiny_tokenizer("llama")
    tokenizer.chat_template = template
    return make_backbone(
        "tiny", model("llama"), tokenizer, family="decoder", max_length=max_length, prompting=Prompting(**prompting), device="cpu"
    )


def read(backbone, task, example):
    [item] = backbone.family.encode(task, [example])
    return item, backbone.tokenizer.decode(item.input_ids)


@pytest.mark.parametrize("system", [None, "", "very fine"])
def test_a_chat_is_what_the_template_makes_of_the_messages(system):
    backbone, task = decoder({"style": "chat", "system": system}), tiny_task()
    item, _ = read(backbone, task, task.test[0])
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": task.test[0].input})
    expected = backbone.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert item.input_ids == expected
    # The answer begins at once, and ends as the template ends a message.
    assert backbone.tokenizer.decode(item.target_ids) == f"{task.test[0].target} </s>"
    assert item.candidate_ids[item.choice.gold] == item.target_ids


def test_examples_stand_before_the_input_as_earlier_messages():
    backbone, task = decoder({"style": "chat", "examples": 2}, max_length=200), tiny_task()
    for example in (*task.train, *task.test):
        _, text = read(backbone, task, example)
        messages = text.split("<mask>")[1:]
        assert len(messages) == 6 and messages[-2].strip().removesuffix("</s>").strip().endswith(example.input.split()[-1])


def test_shown_examples_are_of_training_and_never_the_input_itself():
    rows = [
        Example(f"film {word}", label) for word, label in (("good", "happy"), ("bad", "sad"), ("fine", "happy"), ("poor", "sad"))
    ]
    task = make_task("shown", {"train": rows, "dev": rows[:1], "test": [Example("a plot", "sad")]}, source="here")
    backbone = decoder({"examples": 2, "labels": True})
    for example in (*rows, *task.test):
        item, text = read(backbone, task, example)
        again, _ = read(backbone, task, example)
        assert again.input_ids == item.input_ids
        parts = text.split("Answer:")
        assert len(parts) == 4 and parts[-1] == ""
        answers = [part.split()[0] for part in parts[1:-1]]
        assert sorted(answers) == ["happy", "sad"] or example in rows
        inputs = [" ".join(part.split()[-9:]) for part in parts[:-2]]
        assert not any(example.input in shown for shown in inputs)
    with pytest.raises(DeltaspaceError, match=r"too few examples to show 4(.|\n)*lower 'examples'"):
        decoder({"examples": 4}).family.encode(task, task.test)


def test_label_words_are_named_where_there_are_some():
    backbone = decoder({"labels": True})
    task = tiny_task(labels={"happy": "good", "sad": "very bad"})
    _, text = read(backbone, task, task.test[0])
    assert "good, very bad." in text.replace("<unk>", "") or text.count("<unk>") == 4
    numbers = make_task(
        "stars",
        {split: [Example("a plot", n) for n in ("9", "-1", "10")] for split in ("train", "dev", "test")},
        source="here",
        kind="regression",
    )
    assert (
        question(numbers, Prompting(labels=True)) == "{input}\nA number from -1 to 10." and question(numbers, PLAIN) == "{input}"
    )
    own = tiny_task(prompt="{input} It was")
    assert read(backbone, own, own.test[0])[1].endswith("It was")
    generated = tiny_task(kind="generation")
    assert (
        read(backbone, generated, generated.test[0])[0].input_ids == read(decoder({}), generated, generated.test[0])[0].input_ids
    )


def test_plain_inputs_are_as_ever():
    backbone, task = decoder({}), tiny_task()
    item, _ = read(backbone, task, task.test[0])
    assert item.input_ids == backbone.tokenizer(f"{task.test[0].input}\nAnswer:")["input_ids"]
    assert item.target_ids == [*backbone.tokenizer(task.test[0].target)["input_ids"], backbone.tokenizer.eos_token_id]


def test_long_inputs_are_cut_within_the_chat_and_its_examples():
    backbone, task = decoder({"style": "chat", "examples": 1}, max_length=40), tiny_task()
    item, _ = read(backbone, task, Example("the film was good " * 50, "happy"))
    whole, _ = read(backbone, task, task.test[0])
    assert len(item.input_ids) <= 40
    assert item.input_ids[-4:] == whole.input_ids[-4:] and item.input_ids[:4] == whole.input_ids[:4]
    with pytest.raises(DeltaspaceError, match=r"leaves no room(.|\n)*fewer examples"):
        read(decoder({"style": "chat", "examples": 4}, max_length=40), task, task.test[0])


def test_writing_ends_where_the_template_ends_a_message():
    template = TEMPLATE.replace("</s>", "plot")  # any token
    backbone, task = decoder({"style": "chat"}, template), tiny_task(kind="generation")
    end = backbone.tokenizer.convert_tokens_to_ids("plot")
    items = backbone.family.encode(task, task.test)
    assert all(item.target_ids[-1] == end for item in items)
    # A model that writes nothing but that token.
    torch.nn.init.zeros_(backbone.model.lm_head.weight)
    backbone.model.lm_head.register_forward_hook(lambda module, given, output: output.index_fill(-1, torch.tensor([end]), 9.0))
    lengths = []
    backbone.model.register_forward_hook(lambda module, given, output: lengths.append(1))
    with torch.no_grad():
        backbone.family.evaluate(backbone.model, backbone.family.collate(items))
    assert len(lengths) == 2  # the inputs, of which an end was written, and the targets


def test_behind_shown_examples_an_answer_ends_as_theirs(tmp_path):
    path = str(write_gguf(tmp_path / "tiny.gguf", tiny_llama()))
    task = tiny_task(kind="generation")
    for prompting, end in (({}, "<|end|>"), ({"labels": True}, "<|end|>"), ({"examples": 1}, "\n")):
        loaded = load_backbone(path, max_length=100, prompting=Prompting(**prompting), device="cpu")
        [item] = loaded.family.encode(task, task.test[:1])
        assert loaded.tokenizer.decode(item.target_ids[-1:]) == end


BAD = {
    "none": (None, "has no chat template"),
    "an error of its own": ("{{ raise_exception('only in my house') }}", "only in my house"),
    "no template": ("{% for %}", "chat template cannot be used"),
    "out of the sandbox": ("{{ ''.__class__.__mro__ }}{{ messages.__class__.__bases__[0].__subclasses__() }}", "SecurityError"),
    "without messages": ("hello", "not there once and in their order"),
    "twice": ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "not there once"),
    "backward": ("{% for m in messages | reverse %}{{ m.content }} {% endfor %}", "in their order"),
    "endless": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than"),
    "one long operation": ("{{ (9**(9**9)) % 2 }}" + TEMPLATE, "more than"),
    "all memory": ("{{ ('a' * 2**40)|length }}" + TEMPLATE, "MemoryError"),
    "a long format": ("{{ '%0999999999d' % 1 }}" + TEMPLATE, "MemoryError|more than|characters"),
    "nested deep": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}" + TEMPLATE, "RecursionError|ended with code|nested"),
    "a number": (5, "chat template cannot be used"),
    "large": ("{% for a in range(99999) %}abc{% endfor %}" + TEMPLATE, "characters for four short messages"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_template_that_cannot_be_used_is_one_message(name, monkeypatch):
    template, said = BAD[name]
    if name in ("endless", "one long operation"):
        monkeypatch.setattr(chat, "_SECONDS", 1)
    with pytest.raises(DeltaspaceError, match=said):
        decoder({"style": "chat"}, template)


@pytest.mark.parametrize("kind", ["bert", "sentence", "t5"])
def test_other_families_put_inputs_plainly(kind):
    with pytest.raises(DeltaspaceError, match=r"takes no 'prompt' for all tasks(.|\n)*decoder-only"):
        make_backbone(
            kind, model(kind), tiny_tokenizer(kind), family=FAMILY[kind], prompting=Prompting(style="chat"), device="cpu"
        )


def test_a_recipe_says_it_as_a_word_or_with_settings(tmp_path):
    path = write_example(tmp_path)
    assert load_recipe(path).prompt == Prompting()
    text = path.read_text()
    for said, expected in (
        ('"chat"', Prompting(style="chat")),
        ('{"labels": true, "examples": 3}', Prompting(labels=True, examples=3)),
    ):
        path.write_text(text[:-1] + f', "prompt": {said}' + "}")
        assert load_recipe(path).prompt == expected
    for said, wrong in (('"song"', "prompt"), ('{"system": "x"}', "style: chat"), ('{"examples": -1}', "examples")):
        path.write_text(text[:-1] + f', "prompt": {said}' + "}")
        with pytest.raises(DeltaspaceError, match=wrong):
            load_recipe(path)
