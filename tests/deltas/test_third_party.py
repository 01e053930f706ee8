"""A delta of another package, registered by decorator or entry point, is attached, merged, written and read as ours are."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import nn

from deltaspace.checkpoints import export_delta, load_delta
from deltaspace.deltas import DELTAS, AttachedDelta, CheckpointCard, Delta, attach, make_delta
from deltaspace.deltas.checkpoint import write_description
from deltaspace.errors import DeltaspaceError
from tests.tiny import tiny_backbone, tiny_task


class Shift(Delta):
    """A trained vector that is added to every embedded token."""

    name: ClassVar[str] = "shift"
    source: ClassVar[str] = "https://example.org/shift"

    scale: float = Field(1.0, gt=0, description="the vector times this is added")

    def install(self, model, backbone):
        embeddings = model.get_input_embeddings()
        embeddings.shift = nn.Parameter(0.01 * torch.randn(embeddings.embedding_dim))
        embeddings.register_forward_hook(lambda module, arguments, output: output + self.scale * module.shift)
        return model, [name for name, parameter in model.named_parameters() if parameter is embeddings.shift]


class Written(Shift):
    """The same with a format of its own, and a merged model."""

    name: ClassVar[str] = "written"

    @torch.no_grad()
    def merge(self, attached, parameters):
        model = copy.deepcopy(attached.backbone.model)
        embeddings = model.get_input_embeddings()
        embeddings.weight = nn.Parameter(embeddings.weight + self.scale * parameters)
        return model

    def write(self, attached, parameters, folder):
        (folder / "shift.txt").write_text("\n".join(map(repr, parameters.tolist())))
        write_description(folder, attached.description())
        return CheckpointCard("A shift", "shifts", "shifts.load({folder})")

    def read(self, attached, folders, *, same_base=False):
        return [torch.tensor([float(line) for line in (folder / "shift.txt").read_text().split()]) for folder in folders]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Both are in the registry during a test."""
    monkeypatch.setattr(DELTAS, "_things", dict(DELTAS))
    for delta in (Shift, Written):
        assert DELTAS.register(delta) is delta


def batch_of(backbone):
    task = tiny_task()
    return backbone.family.collate(backbone.family.encode(task, task.train[:6]))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "sentence"])
def test_it_is_attached_by_its_name(architecture):
    backbone = tiny_backbone(architecture)
    attached = attach("shift", backbone, seed=3, scale=2.0)
    assert attached.layout.size == 16
    vector = torch.linspace(-1, 1, 16).requires_grad_()
    attached.loss(vector, batch_of(backbone)).backward()
    assert vector.grad.all()
    assert attach("shift", backbone, seed=3).initial.equal(attached.initial)


def test_the_delta_of_the_page_works(monkeypatch):
    monkeypatch.setattr(DELTAS, "_things", {name: delta for name, delta in DELTAS.items() if name != "shift"})
    page = (Path(__file__).parents[2] / "docs" / "deltas.md").read_text(encoding="utf-8")
    [code] = re.findall(r"## A delta of your own\n\n[^\n]*\n\n((?:    [^\n]*\n|\n)+)", page)
    exec(compile(textwrap.dedent(code), "deltas.md", "exec"), {})
    backbone = tiny_backbone("bert")
    attached, batch = attach("shift", backbone, scale=2.0), batch_of(backbone)
    assert attached.loss(attached.initial, batch).equal(backbone.family.loss(backbone.model, batch))
    vector = torch.linspace(-1, 1, 16)
    assert attached.loss(vector, batch).equal(AttachedDelta(Shift(scale=2.0), backbone).loss(vector, batch))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the delta empty puts no parameters into bert"),
        (["a.weight"], r"empty names a parameter that the model lacks(.|\n)*a\.w"),
    ],
)
def test_a_delta_without_parameters_is_refused_by_its_name(names, message):
    class Empty(Delta):
        name = "empty"
        source = "https://example.org"

        def install(self, model, backbone):
            return model, names

    with pytest.raises(DeltaspaceError, match=message):
        attach(Empty(), tiny_backbone("bert"))


def test_recipes_name_it():
    assert make_delta("shift", {"scale": 3.0}) == Shift(scale=3.0)
    assert make_delta("mine", {"method": "shift"}) == Shift()
    with pytest.raises(ValueError, match=r"there are .*shift"):
        make_delta("nothing", {})
    with pytest.raises(DeltaspaceError, match="shift"):
        attach("nothing", tiny_backbone("bert"))
    with pytest.raises(DeltaspaceError, match="there is a delta 'shift' already"):
        DELTAS.register(type("Other", (Shift,), {}))


@pytest.mark.parametrize(
    ("name", "files"), [("shift", {"delta.json", "delta.safetensors"}), ("written", {"delta.json", "shift.txt"})]
)
def test_it_is_written_and_read_back(name, files, tmp_path):
    backbone = tiny_backbone("bert")
    attached = AttachedDelta(make_delta("mine", {"method": name, "scale": 3.0}), backbone, seed=5, name="mine")
    vector = torch.linspace(-1, 1, 16)
    export_delta(attached, vector, tmp_path / "out", provenance={"task": "tiny"})
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"README.md"}
    again, parameters = load_delta(tmp_path / "out", backbone)
    assert (again.name, again.delta, again.seed) == ("mine", attached.delta, 5)
    assert parameters.equal(vector)
    assert again.initial.equal(attached.initial)
    card = (tmp_path / "out" / "README.md").read_text()
    assert {"shift": 'deltaspace.load_delta("out", backbone)', "written": 'shifts.load("out")'}[name] in card


def test_it_is_merged_where_it_says_how(tmp_path):
    backbone, ids = tiny_backbone("sentence"), torch.tensor([[5, 6, 7, 8]])
    vector = torch.linspace(-1, 1, 16)
    attached = attach("written", backbone)
    export_delta(attached, vector, tmp_path, merge=True)
    plain = type(backbone.model).from_pretrained(tmp_path).eval()
    applied = attached.call(vector, lambda model: model(input_ids=ids).last_hidden_state)
    torch.testing.assert_close(applied, plain(input_ids=ids).last_hidden_state, rtol=1e-4, atol=1e-5)
    with pytest.raises(DeltaspaceError, match="shift cannot be merged"):
        attach("shift", backbone).delta.merge(attach("shift", backbone), vector)


PACKAGE = """
from typing import ClassVar

from deltaspace.deltas import DELTAS, Lora, Peft
from deltaspace.rivals import RIVALS, Rival


@DELTAS.register
class Narrow(Lora):
    name: ClassVar[str] = "narrow"
    r: int = 1


RIVALS.register(Rival("tiny-ia3", "https://example.org", "peft's IA3", lr=0.1, make=lambda dim, modules: Peft(peft="IA3")))
"""
PROGRAM = """
import sys
from pathlib import Path
from deltaspace.deltas import attach, make_delta
from deltaspace.rivals import RIVALS, attach_rival
from tests.tiny import tiny_backbone

backbone = tiny_backbone("bert")
print(attach("narrow", backbone).layout.size, make_delta("mine", {"method": "narrow"}).r)
print(attach_rival("tiny-ia3", 8, backbone).delta.title, "tiny-ia3" in RIVALS)
try:
    make_delta("nothing", {})
except ValueError as error:
    print(error)
"""


def test_an_installed_package_brings_its_deltas_and_rivals_by_entry_points(tmp_path):
    (tmp_path / "narrow.py").write_text(PACKAGE)
    installed = tmp_path / "narrow-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: narrow\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text("[deltaspace.deltas]\nnarrow = narrow\n[deltaspace.rivals]\ntiny-ia3 = narrow\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    # Two layers of two modules (query and value), each with an A and a B of 16 numbers.
    assert told.stdout.splitlines()[:2] == ["128 1", "peft's IA3 True"], told.stderr
    assert "narrow" in told.stdout.splitlines()[2]
