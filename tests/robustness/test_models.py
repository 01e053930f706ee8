"""Models that somebody else wrote: what does not fit is refused by name, and nothing is drawn at random."""

from __future__ import annotations

import re
import shutil
import time

import pytest
import torch

from deltaspace import load_backbone
from deltaspace.backbone import make_backbone
from deltaspace.cli import main
from deltaspace.errors import DeltaspaceError
from deltaspace.families import FAMILIES
from tests.robustness.damaging import (
    WEIGHTS,
    base_alone,
    cut,
    folder_for,
    gone,
    loop,
    more_words,
    no_mask,
    null,
    pickled,
    poisoned,
    put,
    said,
    sharded,
    tensors,
    text,
    untokenized,
    without,
)
from tests.tiny import FAMILY, VOCABULARY, model, save_tiny, tiny_tokenizer, write_example

MODELS = {
    "a layer more than the file": ("bert", said(num_hidden_layers=3), r"encoder.layer.2.* and \d+ more missing"),
    "a layer less than the file": ("bert", said(num_hidden_layers=1), r"encoder.layer.1.* left over"),
    "a layer more, gpt2": ("gpt2", said(n_layer=3), r"h.2.* missing"),
    "a layer less, gpt2": ("gpt2", said(n_layer=1), r"h.1.* left over"),
    "a layer more, llama": ("llama", said(num_hidden_layers=3), "layers.2.* missing"),
    "a layer more, t5": ("t5", said(num_layers=3), "block.2.* missing"),
    "a layer more, bart": ("bart", said(encoder_layers=3), "layers.2.* missing"),
    "a layer more, sentences": ("sentence", said(num_hidden_layers=3), "encoder.layer.2.* missing"),
    "no head of a masked encoder": ("bert", base_alone("bert"), "cls.predictions.* missing"),
    "no head of roberta": ("roberta", base_alone("roberta"), "lm_head.* missing"),
    "no head of llama": ("llama", base_alone("llama"), "lm_head.weight missing"),
    "one key gone": ("bert", without("layer.0.attention.self.query.weight"), "query.weight missing"),
    "embeddings gone": ("llama", without("embed_tokens"), "embed_tokens.weight missing"),
    "a mis-shaped key": (
        "bert",
        put("bert.encoder.layer.0.output.dense.bias", torch.zeros(7)),
        r"\(\[7\], not \[16\]\) of another",
    ),
    "other width of the feed-forward": ("bert", said(intermediate_size=40), "of another shape"),
    "other vocabulary": ("bert", said(vocab_size=len(VOCABULARY) + 9), "of another shape"),
    "a bias that the model leaves out": (
        "llama",
        put("model.layers.0.self_attn.q_proj.bias", torch.ones(16)),
        "q_proj.bias left over",
    ),
    "no tensors": ("bert", tensors(lambda held: held.clear()), "missing"),
    "other names": ("bert", tensors(lambda held: [held.__setitem__("x" + k, held.pop(k)) for k in list(held)]), "missing"),
    "NaN": ("bert", poisoned("layer.0.output.dense.weight", float("nan")), "output.dense.weight not finite"),
    "infinite": ("gpt2", poisoned("wte", float("inf")), "not finite"),
    "minus infinite": ("t5", poisoned("shared", float("-inf")), "not finite"),
    "NaN, sentences": ("sentence", poisoned("word_embeddings", float("nan")), "word_embeddings.weight not finite"),
    "config is a list": ("bert", text("config.json", "[1]"), "is not a model's configuration(.|\n)*list"),
    "config is a number": ("bert", text("config.json", "3"), "is not a model's configuration"),
    "config is null": ("bert", text("config.json", "null"), "is not a model's configuration"),
    "config is cut": ("bert", cut("config.json", 40), "config.json cannot be read"),
    "config is empty": ("bert", text("config.json", ""), "config.json cannot be read"),
    "config is no text": ("bert", text("config.json", b"\xff\xfe\x00"), "config.json cannot be read"),
    "config nested deep": ("bert", text("config.json", '{"a":' * 100_000), "config.json cannot be read"),
    "config with 5,000 digits": ("bert", text("config.json", '{"hidden_size":' + "9" * 5000 + "}"), "config.json cannot be read"),
    "config is a folder": ("bert", folder_for("config.json"), "config.json is a folder"),
    "config is a loop of links": ("bert", loop("config.json"), "is not a model|cannot be read"),
    "no config": ("bert", gone("config.json"), "is not a model"),
    "no type": ("bert", said(model_type=None), "its configuration cannot be used"),
    "an unknown type": ("bert", said(model_type="strange"), "its configuration cannot be used"),
    "a type that is a number": ("bert", said(model_type=3), "its configuration cannot be used"),
    "an unknown dtype": ("bert", said(dtype="float99"), "float99"),
    "an unknown torch_dtype": ("bert", said(dtype=None, torch_dtype="float99"), "float99"),
    "bitsandbytes": (
        "bert",
        said(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "quantized models",
    ),
    "gptq": ("llama", said(quantization_config={"quant_method": "gptq", "bits": 4}), "quantized models(.|\n)*gptq"),
    "an unknown quantization": ("bert", said(quantization_config="x"), "quantized models"),
    "hidden size 10**12": ("bert", said(hidden_size=10**12), "hidden_size|overflow|Storage|number"),
    "hidden size 10**6": ("bert", said(hidden_size=10**6), "numbers in model.safetensors"),
    "hidden size 10**30": ("bert", said(hidden_size=10**30), "a number is too large"),
    "a million layers": ("bert", said(num_hidden_layers=10**6), "too many layers"),
    "a million layers, gpt2": ("gpt2", said(n_layer=10**6), "too many layers"),
    "a million layers, bart": ("bart", said(decoder_layers=10**6), "too many layers"),
    "positions 10**9": ("bert", said(max_position_embeddings=10**9), "numbers in model.safetensors"),
    "vocabulary 10**9": ("llama", said(vocab_size=10**9), "numbers in model.safetensors"),
    "a width that is a text": ("bert", said(hidden_size="wide"), "configuration cannot be used|cannot be loaded"),
    "no heads": ("bert", said(num_attention_heads=0), "cannot be loaded|cannot be used"),
    "heads that do not divide": ("bert", said(num_attention_heads=3), "cannot be loaded|cannot be used"),
    "a negative width": ("bert", said(hidden_size=-16), "cannot be loaded|cannot be used"),
    "an unknown activation": ("bert", said(hidden_act="zzz"), "cannot be loaded|cannot be used"),
    "attention from the Hub": ("bert", said(_attn_implementation="evil/kernel"), "names code or files elsewhere"),
    "weights elsewhere": ("bert", said(transformers_weights="../x.safetensors"), "names code or files elsewhere"),
    "an adapter in the folder": ("bert", text("adapter_config.json", "{}"), "is a checkpoint of peft and not a model"),
    "no weights": ("bert", gone(WEIGHTS), "no weights"),
    "pickles only": ("bert", pickled, r"pytorch_model.bin(.|\n)*pickles such as \*.bin are never read"),
    "weights cut": ("bert", cut(WEIGHTS, 4000), "model.safetensors cannot be read"),
    "weights cut to their length": ("bert", cut(WEIGHTS, 8), "model.safetensors cannot be read"),
    "weights empty": ("bert", text(WEIGHTS, b""), "model.safetensors cannot be read"),
    "weights of noise": ("bert", text(WEIGHTS, b"\xff" * 999), "model.safetensors cannot be read"),
    "weights that are a folder": ("bert", folder_for(WEIGHTS), "model.safetensors cannot be read"),
    "weights that are a loop of links": ("bert", loop(WEIGHTS), "has no model.safetensors"),
    "a file missing": ("bert", sharded(a="a.safetensors", b="b.safetensors"), "1 of 2 files of weights are missing"),
    "a file outside": ("bert", sharded(a="../a.safetensors"), "not a safetensors file of its own folder"),
    "a file at the root": ("bert", sharded(a="/etc/passwd"), "not a safetensors file of its own folder"),
    "a pickle in the index": ("bert", sharded(a="a.bin"), "not a safetensors file of its own folder"),
    "an empty index": ("bert", sharded(), "no weight_map"),
    "an index of numbers": ("bert", sharded(a=3), "no weight_map"),
    "no tokenizer": ("bert", untokenized, "tokenizer"),
    "no tokenizer, gpt2": ("gpt2", untokenized, "tokenizer"),
    "no tokenizer, t5": ("t5", untokenized, "tokenizer"),
    "a tokenizer cut": ("bert", cut("tokenizer.json", 60), "tokenizer cannot be loaded"),
    "a tokenizer that is a list": ("bert", text("tokenizer.json", "[]"), "tokenizer cannot be loaded"),
    "more words than embeddings": ("bert", more_words, "tokenizer is of another model(.|\n)*zebra"),
    "no mask token": ("bert", no_mask, "has no mask token"),
    "no end token": (
        "gpt2",
        lambda folder: said(eos_token=None)(folder, "tokenizer_config.json"),
        r"has no end token",
    ),
    "no start for a decoder": ("t5", said(decoder_start_token_id=None), "has no decoder_start_token_id"),
    "no padding for a decoder": ("t5", null("pad_token_id"), "has no pad_token_id"),
    "a pooling that is none": (
        "sentence",
        lambda folder: ((folder / "1_Pooling").mkdir(), (folder / "1_Pooling" / "config.json").write_text("[")),
        "cannot be read",
    ),
}


def load(folder, kind):
    return load_backbone(str(folder), family=FAMILY[kind], device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Each architecture's folder, as it should be."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(kind, folder / kind) for kind in FAMILY}


@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_model(name, whole, tmp_path):
    kind, damage, phrase = MODELS[name]
    folder = tmp_path / "model"
    shutil.copytree(whole[kind], folder)
    damage(folder)
    start = time.monotonic()
    with pytest.raises(DeltaspaceError, match=phrase):
        load(folder, kind)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("kind", FAMILY)
def test_a_whole_model_has_the_weights_of_its_file(kind, whole):
    loaded = load(whole[kind], kind).model.state_dict()
    for name, tensor in model(kind).state_dict().items():
        assert loaded[name].equal(tensor), name


@pytest.mark.parametrize(
    "extra", ["bert.pooler.dense.weight", "cls.seq_relationship.weight", "classifier.weight", "bert.embeddings.position_ids"]
)
def test_what_a_family_does_not_read_may_stand_there(extra, whole, tmp_path):
    shutil.copytree(whole["bert"], tmp_path / "model")
    put(extra, torch.ones(2))(tmp_path / "model")
    assert load(tmp_path / "model", "bert").family.name == "masked_encoder"


def test_a_pooler_that_no_sentence_encoder_reads_may_be_missing_and_is_zero(whole, tmp_path):
    shutil.copytree(whole["sentence"], tmp_path / "model")
    without("pooler")(tmp_path / "model")
    assert load(tmp_path / "model", "sentence").model.pooler.dense.weight.eq(0).all()


PATHS = {
    "a home of nobody": ("~nouser/x", "~nouser/x: there is no such user"),
    "a file": ("{folder}/bert/config.json", "is a file"),
    "an empty folder": ("{empty}", "an empty folder"),
    "nothing": ("./nothing", "is missing"),
    "too long": ("/" + "x" * 5000, "cannot be a path"),
    "a NUL": ("a\0b", "cannot be a path"),
    "a loop of links": ("{loop}", "is missing|there is no folder"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_is_no_model(name, whole, tmp_path):
    path, phrase = PATHS[name]
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = path.format(folder=whole["bert"].parent, empty=tmp_path / "empty", loop=tmp_path / "loop")
    with pytest.raises(DeltaspaceError, match=phrase):
        load_backbone(path)


def test_a_backbone_in_memory_is_checked_too():
    tokenizer = tiny_tokenizer("bert")
    tokenizer.add_tokens(["zebra"])
    with pytest.raises(DeltaspaceError, match="tokenizer is of another model"):
        make_backbone("bert", model("bert"), tokenizer, family="masked_encoder", device="cpu")


def test_only_the_sentence_encoder_leaves_weights_unread():
    assert {name for name, family in FAMILIES.items() if family.unused} == {"sentence_encoder"}


COMMANDS = {
    "a layer more": (said(num_hidden_layers=3), "layer.2"),
    "pickles": (pickled, "pickles such as"),
    "no tokenizer": (untokenized, "tokenizer"),
    "NaN": (poisoned("query.weight", float("nan")), "not finite"),
    "config is a list": (text("config.json", "[]"), "is not a model's configuration"),
}


@pytest.mark.parametrize("verb", ["check", "run", "import"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_says_it_and_ends_with_code_2(name, verb, checkpoints, tmp_path, monkeypatch, capsys):
    recipe = write_example(tmp_path / "example")
    monkeypatch.chdir(tmp_path / "example")
    damage, phrase = COMMANDS[name]
    damage(tmp_path / "example" / "model")
    given = {
        "check": [str(recipe)],
        "run": [str(recipe), "--out", "study"],
        "import": ["study", str(checkpoints[0] / "lora"), "--task", "source", "--recipe", str(recipe)],
    }
    monkeypatch.setattr("sys.argv", ["deltaspace", verb, *given[verb]])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = re.sub(r"\s+", " ", "".join(capsys.readouterr()))
    assert ended.value.code == 2 and phrase in shown and "Traceback" not in shown


@pytest.mark.parametrize(("name", "phrase"), [("~nouser/x", "~nouser/x: there is no such user"), ("{model}", "has no")])
def test_info_of_what_is_no_subspace(name, phrase, whole, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["deltaspace", "info", name.format(model=whole["bert"])])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = re.sub(r"\s+", " ", "".join(capsys.readouterr()))
    assert ended.value.code == 2 and phrase in shown and "Traceback" not in shown
