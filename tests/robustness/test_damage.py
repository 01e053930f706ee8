"""Every kind of file that is written, damaged in every part: what is read is what was written, or a message names the file."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict

import pytest
import torch

from deltaspace.checkpoints import export_delta, load_delta
from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import write_tensors
from deltaspace.study import (
    Observer,
    load_recipe,
    read_curves,
    read_history,
    read_kept,
    read_landscapes,
    read_scores,
    read_subspace,
    run_study,
)
from deltaspace.study.folder import Folder
from deltaspace.study.imported import Imports
from deltaspace.study.stage import STAGES
from deltaspace.subspace import load_subspace, save_subspace
from deltaspace.subspace.folder import read_description
from deltaspace.training import Resume
from tests.study.test_records import change
from tests.tiny import tiny_backbone, write_example


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study with an artefact of every stage, and exports of its subspace and of a delta. Damaged and mended by each test."""
    folder = tmp_path_factory.mktemp("damage")
    recipe = write_example(folder)
    landscapes = [{"task": "unseen", "points": ["mean", "zero"], "name": "path", "grid": "0:1:3"}]
    change(recipe, rivals=["random"], landscapes=landscapes, reconstruction=True)
    run_study(load_recipe(recipe), folder / "study")
    save_subspace(read_subspace(folder / "study"), folder / "subspace")
    attached = AttachedDelta(make_delta("adapter", {"bottleneck": 2}), tiny_backbone("bert"), 0, "adapter")
    export_delta(attached, attached.initial + 1, folder / "delta")
    return folder


def plain(value):
    """Numbers as texts, so that NaN is itself."""
    return repr(value)


def subspace_numbers(subspace):
    tensors, said = subspace.pack()
    vectors = {key: vector.tolist() for key, vector in subspace.vectors.entries.items()}
    return plain([{name: tensor.tolist() for name, tensor in sorted(tensors.items())}, said, vectors])


def landscape_numbers(folder):
    read = {name: landscape.pack() for name, landscape in read_landscapes(folder).items()}
    return plain([[name, {k: t.tolist() for k, t in pack[0].items()}, pack[1]] for name, pack in read.items()])


STUDY = {
    "scores": lambda folder: plain([asdict(row) for row in read_scores(folder)]),
    "curves": lambda folder: plain([asdict(curve) for curve in read_curves(folder)]),
    "landscapes": landscape_numbers,
    "subspace": lambda folder: subspace_numbers(read_subspace(folder)),
    "kept": lambda folder: plain([asdict(row) for row in read_kept(folder)]),
    "history": lambda folder: plain([asdict(run) for run in read_history(folder)]),
    "recipe": lambda folder: plain(load_recipe(folder / "recipe.yaml").model_dump()),
}
SUBSPACE = {
    "load": lambda folder: subspace_numbers(load_subspace(folder)),
    "info": lambda folder: plain(read_description(folder)),
}
DELTA = {"load": lambda folder: plain(load_delta(folder, tiny_backbone("bert"))[1].tolist())}


def flip(where):
    """Change one byte at a share of the file."""

    def damage(data):
        index = min(int(where * len(data)), len(data) - 1)
        return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]

    return damage


def digits(data):
    """Change every third digit of the text: of a header, or of JSON."""
    end = 8 + int.from_bytes(data[:8], "little") if data[:1] not in b"{[" else len(data)
    start = 8 if end < len(data) else 0
    changed = bytearray(data)
    spots = [index for index in range(start, min(end, len(data))) if chr(data[index]).isdigit()][::3]
    for index in spots:
        changed[index] = ord("9") if data[index] != ord("9") else ord("8")
    return bytes(changed)


DAMAGE = {
    **{f"a byte at {share:.2f}": flip(share) for share in (0, 0.0005, 0.03, 0.1, 0.2, 0.33, 0.5, 0.66, 0.8, 0.95, 1)},
    "digits": digits,
    "empty": lambda data: b"",
    "4 bytes": lambda data: data[:4],
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "one byte long": lambda data: data + b"x",
    "zeroed": lambda data: bytes(len(data)),
    "end zeroed": lambda data: data[: len(data) * 3 // 4] + bytes(len(data) - len(data) * 3 // 4),
    "a header without end": lambda data: b"\xff" * 8 + data[8:],
    "deep": lambda data: b"[" * 100_000,
    "a long number": lambda data: b'{"a": ' + b"9" * 5000 + b"}",
}


def check(folder, path, readers, names):
    """Damage a file in each way: every reader gives what it gave, or names one of these."""
    before = {name: read(folder) for name, read in readers.items()}
    data = (folder / path).read_bytes()
    noticed = 0
    try:
        for case, damage in DAMAGE.items():
            (folder / path).write_bytes(damage(data))
            for name, read in readers.items():
                try:
                    assert read(folder) == before[name], (path, case, name)
                except DeltaspaceError as error:
                    assert any(part in str(error) for part in names), (path, case, name, str(error))
                    noticed += 1
    finally:
        (folder / path).write_bytes(data)
    assert noticed > len(DAMAGE) // 2, path


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_kind_of_artefact(whole, stage):
    study = whole / "study"
    paths = list(Folder(study).files(stage))
    if not paths:
        pytest.skip(f"the recipe asks for nothing of {stage}")
    check(study, paths[0], {name: STUDY[name] for name in ("scores", "curves", "landscapes", "subspace", "kept")}, [paths[0]])


def test_what_ran_where(whole):
    check(whole / "study", "runs.json", {"history": STUDY["history"]}, ["runs.json"])


@pytest.mark.parametrize("name", ["subspace.json", "subspace.safetensors", "vectors.safetensors"])
def test_an_exported_subspace(whole, name):
    check(whole / "subspace", name, SUBSPACE, [name])


@pytest.mark.parametrize("name", ["delta.json", "delta.safetensors"])
def test_an_exported_delta(whole, name):
    check(whole / "delta", name, DELTA, [name, "delta", str(whole / "delta")])


def test_two_artefacts_in_each_other_s_place(whole):
    study = whole / "study"
    for stage in STAGES:
        paths = list(Folder(study).files(stage))
        if len(paths) < 2:
            continue
        first, second = ((study / path).read_bytes() for path in paths[:2])
        (study / paths[0]).write_bytes(second)
        (study / paths[1]).write_bytes(first)
        with pytest.raises(DeltaspaceError, match=paths[0]):
            STUDY["scores"](study) if STAGES[stage].scored else [read(study) for read in STUDY.values()]
        (study / paths[0]).write_bytes(first)
        (study / paths[1]).write_bytes(second)


class Log(Observer):
    def __init__(self):
        self.made, self.notes = [], []

    def start(self, artefact, reason):
        self.made.append((artefact.path, reason))

    def note(self, text):
        self.notes.append(text)


def test_a_run_mends_what_is_damaged_and_says_what_it_sets_aside(whole, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(whole / "study", study)
    before = STUDY["scores"](study), STUDY["subspace"](study)
    paths = [path for stage in STAGES for path in list(Folder(study).files(stage))[:1]]
    for path in paths:
        (study / path).write_bytes(b"")
    shutil.copy(study / "runs.json", study / "landscapes" / "other.safetensors")
    (study / "runs.json").write_text("{")
    log = Log()
    run_study(load_recipe(whole / "recipe.yaml"), study, observer=log)
    assert [made for made in log.made if made[1] == "damaged"] == [(path, "damaged") for path in paths]
    assert any("landscapes/other.safetensors" in note for note in log.notes) and any("runs.json" in note for note in log.notes)
    assert STUDY["subspace"](study) == before[1]
    assert [row.score for row in read_scores(study)] == [row.score for row in read_scores(whole / "study")]


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name not in ("one byte long", "digits")])
def test_a_damaged_state_of_a_computation(tmp_path, damage):
    """It is told, and what it was of begins anew: it is nobody's work that could be lost otherwise."""
    path, notes = tmp_path / "state.safetensors", []
    write_tensors(path, {"0.value": torch.arange(50.0)}, {"fingerprint": "f", "step": 3})
    resume = Resume(path, "f", note=notes.append)
    assert resume.load(lambda tensors, said: said["step"]) == 3 and not notes
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert resume.load(lambda tensors, said: said["step"]) is None
    assert len(notes) == 1 and str(path) in notes[0]


@pytest.fixture
def begun(whole, tmp_path):
    """A study without one artefact, and where its computation keeps its state."""
    shutil.copytree(whole / "study", tmp_path / "study")
    path = "independent/lora/source/0.safetensors"
    (tmp_path / "study" / path).unlink()
    state = Folder(tmp_path / "study").resume_state(path)
    state.parent.mkdir(parents=True)
    return tmp_path / "study", path, state


def test_a_run_tells_which_state_it_passes_over(whole, begun):
    study, path, state = begun
    shutil.copy(whole / "study" / path, state)
    log = Log()
    run_study(load_recipe(whole / "recipe.yaml"), study, observer=log)
    assert [str(state) in note and "lacks" in note for note in log.notes] == [True]
    assert log.made == [(path, "missing")] and not state.exists()
    assert STUDY["subspace"](study) == STUDY["subspace"](whole / "study")


@pytest.mark.parametrize("what", ["a folder", "a link"])
def test_what_is_no_file_where_a_state_goes(whole, begun, what):
    study, path, state = begun
    if what == "a link":
        state.symlink_to(state)
    else:
        state.mkdir()
    with pytest.raises(DeltaspaceError, match=f"cannot hold the state .*\n.*{what}"):
        run_study(load_recipe(whole / "recipe.yaml"), study)
    shutil.copy(whole / "study" / path, study / path)
    assert run_study(load_recipe(whole / "recipe.yaml"), study) == 0
    assert state.is_dir() is (what == "a folder")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"digest": "0"}', '{"lora/source/0": {"from": "evil", "sha256": "0"}, "digest": "0"}']
)
def test_a_damaged_list_of_imports_is_taken_from_the_solutions(whole, tmp_path, text):
    shutil.copytree(whole / "study", tmp_path / "study")
    (tmp_path / "study" / "imported").mkdir()
    (tmp_path / "study" / "imported" / "imports.json").write_text(text)
    imports = Imports(Folder(tmp_path / "study"))
    assert imports.source("source", "lora", 0) is None and "imports.json" in imports.doubts[0]
    (tmp_path / "study" / "independent/lora/source/0.safetensors").write_bytes(b"")
    with pytest.raises(DeltaspaceError, match=r"independent/lora/source/0\.safetensors"):
        Imports(Folder(tmp_path / "study"))


def test_a_list_of_imports_says_what_was_imported(tmp_path):
    imports = Imports(Folder(tmp_path))
    imports.keep_initial("lora", 0, torch.zeros(3), "drawn", {})
    imports.keep_source("movies", "lora", 0, "zoo", "ab")
    again = Imports(Folder(tmp_path))
    assert again.source("movies", "lora", 0) == {"from": "zoo", "sha256": "ab"} and not again.doubts
    assert again.checksum("lora", 0)
    (tmp_path / "imported/lora/1.safetensors").write_bytes((tmp_path / "imported/lora/0.safetensors").read_bytes())
    with pytest.raises(DeltaspaceError, match="does not belong there"):
        again.checksum("lora", 1)
    (tmp_path / "imported/lora/0.safetensors").unlink()
    with pytest.raises(DeltaspaceError, match=r"0\.safetensors is missing"):
        again.initial("lora", 0)
    said = json.loads((tmp_path / "imported/imports.json").read_text())
    assert set(said) == {"lora/movies/0", "digest"}


def made_strange(path, what):
    """Put something in a file's place that is no plain file."""
    path.unlink()
    if what == "loop":
        path.symlink_to(path)
    elif what == "nowhere":
        path.symlink_to(path.parent / "nowhere")
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("what", ["loop", "nowhere", "device", "pipe"])
@pytest.mark.parametrize("stage", ["zero_shot", "independent", "subspace", "optimized"])
def test_what_is_no_file_in_an_artefact_s_place_is_told(whole, tmp_path, stage, what):
    """By whoever reads it; it is not taken for an artefact that was never made."""
    shutil.copytree(whole / "study", tmp_path / "study")
    path = next(Folder(tmp_path / "study").files(stage))
    made_strange(tmp_path / "study" / path, what)
    with pytest.raises(DeltaspaceError, match=re.escape(path)):
        read_scores(tmp_path / "study")


def test_a_linked_folder_in_a_study_is_told(whole, tmp_path):
    shutil.copytree(whole / "study", tmp_path / "study")
    (tmp_path / "study" / "zero_shot" / "lora").rename(tmp_path / "elsewhere")
    (tmp_path / "study" / "zero_shot" / "lora").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeltaspaceError, match="zero_shot/lora is a link"):
        read_scores(tmp_path / "study")
