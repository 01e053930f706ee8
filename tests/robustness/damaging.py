"""Damage to the files of a model or a checkpoint, as functions of its folder."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file

from deltaspace.storage import sealed
from tests.tiny import model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def said(**entries):
    """Change entries of a JSON file in a folder; None takes one away."""

    def damage(folder, name="config.json"):
        content = json.loads((folder / name).read_text()) | entries
        content = {key: value for key, value in content.items() if value is not None}
        # With a digest that holds: anyone can write one.
        (folder / name).write_text(json.dumps(sealed(content) if name == "delta.json" else content))

    return damage


def null(key):
    def damage(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: None}))

    return damage


def text(name, content):
    def damage(folder):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def gone(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def tensors(change, name=WEIGHTS):
    """Change a safetensors file's tensors."""

    def damage(folder):
        held = load_file(folder / name)
        change(held)
        save_file(held, folder / name, metadata={"format": "pt"})

    return damage


def folder_for(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def loop(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)

    return damage


def cut(name, count):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:count])


def sharded(**files):
    """An index in place of the weights."""

    def damage(folder):
        (folder / WEIGHTS).rename(folder / "a.safetensors")
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))

    return damage


def pickled(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def base_alone(kind):
    """The weights of the model without its head."""

    def damage(folder):
        base = model(kind).base_model
        base.config.architectures = model(kind).config.architectures or [type(model(kind)).__name__]
        config = (folder / "config.json").read_text()
        base.save_pretrained(folder)
        (folder / "config.json").write_text(config)

    return damage


def untokenized(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def put(key, value):
    return tensors(lambda held: held.__setitem__(key, value))


def without(*parts):
    def change(held):
        for key in [key for key in held if any(part in key for part in parts)]:
            del held[key]

    return tensors(change)


def poisoned(part, number):
    def change(held):
        key = next(key for key in held if part in key)
        held[key] = held[key].clone()
        held[key].view(-1)[0] = number

    return tensors(change)


def more_words(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["zebra"] = 500
    path.write_text(json.dumps(content))


def no_mask(folder):
    said(mask_token=None)(folder, "tokenizer_config.json")
