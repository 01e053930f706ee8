"""A LoRA for llama.cpp: what is in the file, undone, is the LoRA, and on the model's own GGUF file it does what it does here."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import transformers
from typer.testing import CliRunner

from deltaspace.backbone import Backbone, load_backbone, make_backbone
from deltaspace.checkpoints import export_delta
from deltaspace.checkpoints.gguf_lora import gguf_lora
from deltaspace.cli import app
from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_header import gguf_header
from tests.deltas.test_peft_methods import moved
from tests.gguf import MATRICES, tiny_llama, write_gguf
from tests.tiny import VOCABULARY, examples, save_tiny, tiny_backbone, tiny_tokenizer

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed: pip install 'deltaspace[demo-lm]'")

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
# How llama.cpp calls it, and whether a head's halves are neighbors there.
MODELS = {
    "Gemma": ("gemma", False),
    "Gemma2": ("gemma2", False),
    "Gemma3": ("gemma3", False),
    "Llama": ("llama", True),
    "Mistral": ("llama", True),
    "Olmo2": ("olmo2", False),
    "Phi3": ("phi3", False),
    "Qwen2": ("qwen2", False),
    "Qwen3": ("qwen3", False),
    "StableLm": ("stablelm", False),
    "Starcoder2": ("starcoder2", False),
}
# Without a width of heads in its configuration, or with matrices that others have not.
PLAIN = ("Olmo2", "Phi3", "Qwen2", "StableLm", "Starcoder2")
FUSED = {
    "Phi3": {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"},
    "Starcoder2": {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
}
IDS = torch.tensor([[1, 5, 6, 7, 8, 2, 9]])


def backbone_of(kind: str) -> Backbone:
    sizes = {key: value for key, value in SIZES.items() if not (kind in PLAIN and key == "head_dim")}
    torch.manual_seed(0)
    config_class = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")
    model = getattr(transformers, f"{kind}ForCausalLM")(config_class(**sizes, pad_token_id=0)).eval()
    return make_backbone(kind, model, tiny_tokenizer("llama"), family="decoder", max_length=32, device="cpu", fingerprint=kind)


def read(path):
    """The fields and tensors of a GGUF file, by their names."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}


def halves(rows, heads):
    """A head's rows as transformers has them, out of llama.cpp's neighbors."""
    return torch.cat([half for head in rows.chunk(heads) for half in (head[0::2], head[1::2])])


@pytest.mark.parametrize("kind", MODELS)
def test_the_file_holds_the_lora_to_the_bit(kind, tmp_path):
    backbone, names = backbone_of(kind), MATRICES | FUSED.get(kind, {})
    endings = {name.split("layers.0.")[-1] for name, _ in backbone.model.named_modules()}
    modules = [name.split(".")[-1] for name in names if name in endings]
    attached = AttachedDelta(make_delta("lora", {"r": 3, "alpha": 5.0, "target_modules": modules}), backbone)
    vector = moved(attached)
    export_delta(attached, vector, tmp_path / "x.gguf", provenance={"task": "tiny", "d": 7})
    fields, tensors = read(tmp_path / "x.gguf")
    architecture, like_llama = MODELS[kind]
    assert fields["general.architecture"] == architecture
    assert (fields["general.type"], fields["adapter.type"], fields["adapter.lora.alpha"]) == ("adapter", "lora", 5.0)
    assert fields["general.base_model.0.name"] == kind and "task: tiny\nd: 7" in fields["general.description"]
    expected = {}
    for name, part in attached.layout.split(vector).items():
        # layers.0.self_attn.q_proj.lora_A.default.weight
        _, module = name.split("layers.")
        number, module = module.split(".", 1)
        module, side = module.split(".lora_")
        expected[f"blk.{number}.{names[module]}.weight.lora_{side[0].lower()}"] = part
    assert tensors.keys() == expected.keys() and len(tensors) == 2 * 2 * len(modules) >= 16
    for name, part in expected.items():
        heads = {"attn_q": 4, "attn_k": 2}.get(name.split(".")[2]) if like_llama and name.endswith("lora_b") else None
        assert (halves(tensors[name], heads) if heads else tensors[name]).equal(part)
        assert heads is None or not tensors[name].equal(part)


def test_on_the_models_own_file_it_does_what_it_does_here(tmp_path):
    """Added to the matrices in a GGUF file, which transformers then reads: the logits are the LoRA's."""
    path = write_gguf(tmp_path / "base" / "tiny.gguf", tiny_llama())
    backbone = load_backbone(str(path), device="cpu")
    attached = AttachedDelta(make_delta("lora", {"r": 3, "alpha": 9.0, "target_modules": ALL}), backbone)
    vector = 3 * moved(attached)
    fields, tensors = read(export_delta(attached, vector, tmp_path / "x.gguf"))
    merged = path.parent / "merged.gguf"
    merged.write_bytes(path.read_bytes())
    reader, changed = gguf.GGUFReader(merged, "r+"), 0
    for tensor in reader.tensors:
        if f"{tensor.name}.lora_a" in tensors:
            down, back = (tensors[f"{tensor.name}.lora_{side}"] for side in "ab")
            tensor.data[:] += (fields["adapter.lora.alpha"] / len(down) * back @ down).numpy()
            changed += 1
    reader.data.flush()
    assert changed == 2 * len(ALL)
    plain = load_backbone(str(merged), device="cpu").model
    with torch.no_grad():
        theirs, ours = plain(IDS).logits, attached.call(vector, lambda model: model(IDS).logits)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)
    assert (ours - attached.call(attached.initial, lambda model: model(IDS).logits)).abs().max() > 0.1


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True, "r": 4, "lora_alpha": 6},
        {"r": 4, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"r": 4, "use_rslora": True, "rank_pattern": {"o_proj": 9}},
    ],
    ids=["rslora", "patterns", "both"],
)
def test_every_scale_of_peft_is_what_llama_cpp_makes_of_it(settings, tmp_path):
    attached = AttachedDelta(make_delta("peft", {"peft": "LORA", "target_modules": ALL[2:4], **settings}), backbone_of("Llama"))
    vector = moved(attached)
    fields, tensors = read(export_delta(attached, vector, tmp_path / "x.gguf"))
    plain = dict(attached.backbone.model.named_parameters())
    for name, weight in attached.delta.merge(attached, vector).named_parameters():
        module = name.removesuffix(".weight").split("layers.")[-1].split(".", 1)[-1]
        if module in ("self_attn.v_proj", "self_attn.o_proj"):
            key = f"blk.{name.split('.')[2]}.{MATRICES[module]}.weight.lora_"
            down, back = tensors[key + "a"], tensors[key + "b"]
            update = fields["adapter.lora.alpha"] / len(down) * back @ down
            torch.testing.assert_close(update, (weight - plain[name]).detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("adapter", {}, "adapter"),
        ("finetune", {"parameters": ["*q_proj*"]}, "finetune"),
        ("peft", {"peft": "LORA", "use_dora": True}, "DoraLinearVariant"),
        ("peft", {"peft": "LORA", "lora_bias": True}, "lora_B.default.bias"),
        ("peft", {"peft": "LORA", "target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens.lora_embedding_A"),
        ("peft", {"peft": "LORA", "trainable_token_indices": [3]}, "token"),
        ("peft", {"peft": "IA3"}, "IA3 with"),
        ("peft", {"peft": "PROMPT_TUNING", "num_virtual_tokens": 2}, "PROMPT_TUNING with"),
    ],
    ids=["adapter", "finetune", "dora", "bias", "embeddings", "tokens", "ia3", "prompt"],
)
def test_what_is_no_plain_lora_is_refused(name, settings, found, tmp_path):
    attached = AttachedDelta(make_delta(name, settings), tiny_backbone("llama"))
    with pytest.raises(DeltaspaceError, match="is no plain LoRA, which is all that llama") as error:
        export_delta(attached, attached.initial, tmp_path / "x.gguf")
    assert found in error.value.found and error.value.mend
    assert list(tmp_path.iterdir()) == []


def test_models_and_modules_that_llama_cpp_does_not_know_are_refused(tmp_path):
    attached = AttachedDelta(make_delta("lora", {}), tiny_backbone("gpt2"))
    with pytest.raises(DeltaspaceError, match="GPT2LMHeadModel") as error:
        export_delta(attached, attached.initial, tmp_path / "x.gguf")
    assert "LlamaForCausalLM" in error.value.expected
    # Tied to the embeddings, the head is no matrix of its own there; else it is one.
    tied = load_backbone(str(write_gguf(tmp_path / "base" / "tiny.gguf", tiny_llama())), device="cpu")
    head = {"r": 2, "target_modules": ["q_proj", "lm_head"]}
    with pytest.raises(DeltaspaceError, match="no matrix for some modules of lora\n  found: lm_head"):
        gguf_lora(attached := AttachedDelta(make_delta("lora", head), tied), attached.initial)
    apart = AttachedDelta(make_delta("lora", head), tiny_backbone("llama"))
    assert "output.weight.lora_a" in gguf_lora(apart, apart.initial).tensors


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    attached = AttachedDelta(make_delta("lora", {"r": 2}), tiny_backbone("llama"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeltaspaceError, match="the package gguf is not installed"):
        export_delta(attached, attached.initial, tmp_path / "x.gguf")


def test_nothing_but_an_earlier_lora_is_replaced(tmp_path):
    attached = AttachedDelta(make_delta("lora", {"r": 2}), tiny_backbone("llama"))
    path = tmp_path / "x.gguf"
    for _ in range(2):
        export_delta(attached, attached.initial, path)
    assert gguf_header(path).purpose == "adapter" and [file.name for file in tmp_path.iterdir()] == ["x.gguf"]
    model = write_gguf(tmp_path / "model.gguf", tiny_llama())
    (tmp_path / "notes.gguf").write_text("mine")
    (tmp_path / "folder.gguf").mkdir()
    for there, found in (
        (model, "a GGUF file of a model"),
        ("notes.gguf", "a file of another kind"),
        ("folder.gguf", "a folder"),
    ):
        before = (tmp_path / there).stat()
        with pytest.raises(DeltaspaceError, match=f"found: {found} is there"):
            export_delta(attached, attached.initial, tmp_path / there)
        assert (tmp_path / there).stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(DeltaspaceError, match="a merged model"):
        export_delta(attached, attached.initial, path, merge=True)


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_convert_writes_one(tmp_path):
    save_tiny("llama", tmp_path / "model")
    adapter = AttachedDelta(make_delta("adapter", {"bottleneck": 2}), load_backbone(str(tmp_path / "model"), device="cpu"))
    export_delta(adapter, 10 * moved(adapter), tmp_path / "adapter")
    (tmp_path / "texts.txt").write_text("\n".join(example.input for example in examples(12)))
    asked = ("convert", tmp_path / "adapter", "--inputs", tmp_path / "texts.txt", "--steps", 2, "-o", tmp_path / "x.gguf")
    result = command(*asked, "--to", "lora: {r: 2}")
    assert result.exit_code == 0, result.output + repr(result.exception)
    fields, tensors = read(tmp_path / "x.gguf")
    assert "converted from" in fields["general.description"] and len(tensors) == 2 * 2 * 2
    # Before it is tuned.
    (tmp_path / "x.gguf").unlink()
    refused = command(*asked, "--to", "{peft: IA3}").exception
    assert isinstance(refused, DeltaspaceError) and "no plain LoRA" in refused.what
    assert {path.name for path in tmp_path.iterdir()} == {"model", "adapter", "texts.txt"}
    for words in (("--merge",), ("--push-to-hub", "me/mine")):
        refused = command("export", tmp_path, "--task", "a", "--delta", "lora", "-o", tmp_path / "y.gguf", *words).exception
        assert isinstance(refused, DeltaspaceError) and "is to be a file, of one LoRA" in refused.what
