"""A subspace's tasks as LoRA folders: peft loads them to the space's own logits, names go by content, nothing grows."""

from __future__ import annotations

import threading

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from deltaspace.backbone import load_backbone
from deltaspace.checkpoints import export_delta
from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.serving import LoraFolders
from deltaspace.storage import model_fingerprint, read_metadata, write_tensors
from deltaspace.subspace import approximate, load_subspace, save_subspace
from tests.gguf import tiny_llama, write_gguf
from tests.tiny import model, save_tiny

LORAS = {"lora": {"r": 2}, "wide": {"method": "lora", "r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]}}
IDS = torch.tensor([[5, 6, 7, 8], [8, 9, 10, 11]])


def space(folder, deltas=("lora",), dim=3):
    """A subspace of a tiny Llama with a random projection, saved, with three tasks."""
    if not (folder / "model").exists():
        save_tiny("llama", folder / "model")
    plm = load_backbone(str(folder / "model"))
    attached = [AttachedDelta(make_delta(name, LORAS.get(name, {})), plm, 0, name) for name in deltas]
    subspace = approximate(attached, [], [], dim=dim, projection="gaussian")
    for index, task in enumerate(("x", "y", "z")):
        subspace.vectors.add(task, deltas[0], 3 * torch.randn(dim, generator=torch.Generator().manual_seed(index)))
    save_subspace(subspace, folder / "space")
    return plm, attached, subspace


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
@pytest.mark.parametrize("delta", LORAS)
def test_peft_loads_the_logits_of_the_space(delta, tmp_path):
    _, [attached], subspace = space(tmp_path, (delta,))
    folder = LoraFolders(tmp_path / "space", cache=tmp_path / "cache").find("y")
    vector = subspace.decode(delta, subspace.vector("y"))
    with torch.no_grad():
        expected = attached.call(vector, lambda m: m(input_ids=IDS).logits)
        loaded = PeftModel.from_pretrained(model("llama").eval(), folder.path)(input_ids=IDS).logits
        untuned = attached.call(attached.initial, lambda m: m(input_ids=IDS).logits)
    torch.testing.assert_close(loaded, expected)
    assert not loaded.allclose(untuned)
    export_delta(attached, vector, tmp_path / "exported")
    ours, theirs = (load_file(path / "adapter_model.safetensors") for path in (folder.path, tmp_path / "exported"))
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)
    assert "tiny" not in folder.name and folder.name.startswith("y@") and folder.path.parent.parent == tmp_path / "cache"


def test_a_changed_vector_is_another_name(tmp_path):
    _, _, subspace = space(tmp_path)
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    first = folders.find("x")
    assert folders.find("x") == first == folders.find(first.name)
    subspace.vectors.add("x", "lora", torch.ones(3))
    subspace.vectors.add("new", "lora", torch.ones(3))
    save_subspace(subspace, tmp_path / "space")
    second = folders.find("x")
    assert second.name != first.name and folders.find(first.name) is None
    assert folders.find("new").task == "new" and set(folders.tasks) == {"x", "y", "z", "new"}
    weights = [load_file(folder.path / "adapter_model.safetensors") for folder in (first, second)]
    assert any(not weights[0][name].equal(weights[1][name]) for name in weights[0])
    subspace.vectors.entries.pop(("new", "lora"))
    save_subspace(subspace, tmp_path / "space")
    assert folders.find("new") is None and folders.find("nothing") is None


def test_another_basis_is_another_folder(tmp_path):
    space(tmp_path)
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    first = folders.find("x")
    _, [attached], subspace = space(tmp_path)
    subspace.entries["lora"].initial.mul_(2)
    save_subspace(subspace, tmp_path / "space")
    second = folders.find("x")
    assert second.name != first.name and second.path.parent != first.path.parent
    ours = load_file(second.path / "adapter_model.safetensors")
    decoded = torch.cat([ours[name].reshape(-1) for name, _ in folders.writer().layout.entries])
    assert decoded.equal(subspace.decode("lora", subspace.vector("x"))) and attached.layout.size == len(decoded)


def test_what_was_asked_for_longest_ago_goes(tmp_path):
    space(tmp_path)
    probe = LoraFolders(tmp_path / "space", cache=tmp_path / "cache").find("x")
    size = sum(path.stat().st_size for path in probe.path.iterdir())
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache", largest=2 * size + size // 2)
    for task in ("y", "x", "z"):
        kept = folders.find(task)
    assert sorted(path.name[0] for path in kept.path.parent.iterdir()) == ["x", "z"]
    assert folders.find("y").path.is_dir()
    tiny = LoraFolders(tmp_path / "space", cache=tmp_path / "cache", largest=1)
    assert tiny.find("x").path.is_dir() and len(list(kept.path.parent.iterdir())) == 1


def test_many_threads_find_whole_folders(tmp_path):
    space(tmp_path)
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    made, failed = [], []

    def ask(index):
        try:
            folder = folders.find("xyz"[index % 3])
            made.append((folder.name, len(load_file(folder.path / "adapter_model.safetensors"))))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(set(made)) == 3 and len(list((tmp_path / "cache").glob("*/*"))) == 3


def test_nothing_heavy_before_the_first_task(tmp_path, monkeypatch):
    space(tmp_path)
    reads = []
    monkeypatch.setattr("deltaspace.serving.lora_folders.load_subspace", lambda path: reads.append(path) or load_subspace(path))
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    assert folders.tasks == ["x", "y", "z"] and (folders.writer().rank, folders.writer().modules) == (2, ["q_proj", "v_proj"])
    assert reads == [] and not (tmp_path / "cache").exists()
    folders.find("x")
    folders.find("y")
    assert reads == [tmp_path / "space"]


def test_which_lora(tmp_path):
    space(tmp_path, ("lora", "wide", "adapter"))
    with pytest.raises(DeltaspaceError, match=r"several LoRAs(.|\n)*lora, wide"):
        LoraFolders(tmp_path / "space")
    assert LoraFolders(tmp_path / "space", "wide").writer().modules == ["down_proj", "q_proj", "v_proj"]
    with pytest.raises(DeltaspaceError, match="no delta 'other'"):
        LoraFolders(tmp_path / "space", "other")
    with pytest.raises(DeltaspaceError, match="adapter is no LoRA"):
        LoraFolders(tmp_path / "space", "adapter").writer()
    space(tmp_path, ("adapter",))
    with pytest.raises(DeltaspaceError, match=r"no LoRA(.|\n)*--as lora"):
        LoraFolders(tmp_path / "space")
    assert model_fingerprint(tmp_path / "model") == load_subspace(tmp_path / "space").plm.fingerprint


NAMES = ("../../../evil", "/evil", "a/b", "..", "", "x" * 400, "a\0b", "a b")


@pytest.mark.parametrize("part", ["vectors", "sources"])
@pytest.mark.parametrize("name", NAMES)
def test_a_task_whose_name_is_a_path_is_written_nowhere(part, name, tmp_path):
    space(tmp_path)
    folder, inside = tmp_path / "space", tmp_path / "a" / "b" / "c" / "cache"
    rewrite(folder, part, name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DeltaspaceError, match="cannot be written as a folder"):
        LoraFolders(folder, cache=inside).find(name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "change",
    [
        {"plm": None},
        {"plm": {"name": "x", "fingerprint": "y", "family": "z", "more": 1}},
        {"plm": {"name": 5, "fingerprint": "y", "family": "z"}},
        {"deltas": []},
        {"deltas": {"lora": "x"}},
        {"deltas": {"lora": {"map": "linear"}}},
        {"dim": None},
        {"dim": "x"},
        {"sources": 5},
        {"sources": [["a"]]},
        {"sources": ["a", "b", "c", "d", "e"]},
    ],
)
def test_a_header_of_somebody_else_is_one_message(change, tmp_path):
    space(tmp_path)
    rewrite(tmp_path / "space", "subspace", change)
    with pytest.raises(DeltaspaceError):
        folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
        folders.find(folders.tasks[0])


def rewrite(folder, part, change):
    """Another task's name or another header, with the checksums that fit."""
    (folder / "subspace.json").unlink()
    path = folder / f"{'vectors' if part == 'vectors' else 'subspace'}.safetensors"
    said = {key: value for key, value in read_metadata(path).items() if key not in ("digest", "checksum")}
    tensors = load_file(path)
    if part == "vectors":
        said["entries"][0][0] = change
    elif part == "sources":
        said["sources"] = [change]
        tensors["codes"] = torch.zeros(1, 1, said["dim"])
    else:
        said |= change
    write_tensors(path, tensors, said)


@pytest.mark.filterwarnings("ignore")  # peft's, of how it asks transformers
def test_a_model_in_a_gguf_file_is_served_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTASPACE_CACHE", str(tmp_path / "user"))
    plm = load_backbone(str(write_gguf(tmp_path / "tiny.gguf", tiny_llama())))
    lora = AttachedDelta(make_delta("lora", {"r": 2}), plm, 0, "lora")
    subspace = approximate([lora], [], [], dim=3, projection="gaussian")
    subspace.vectors.add("x", "lora", torch.ones(3))
    save_subspace(subspace, tmp_path / "space")
    folder = LoraFolders(tmp_path / "space", cache=tmp_path / "cache").find("x")
    decoded = subspace.decode("lora", subspace.vector("x"))
    with torch.no_grad():
        expected = lora.call(decoded, lambda m: m(input_ids=IDS).logits)
        loaded = PeftModel.from_pretrained(tiny_llama(), folder.path)(input_ids=IDS).logits
    torch.testing.assert_close(loaded, expected)
