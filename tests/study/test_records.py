"""An artefact counts only where it belongs and as it was written: whatever else lies there is told, made anew or set aside."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import draw
from deltaspace.landscape import Landscape
from deltaspace.study import (
    Observer,
    SliceSpec,
    is_sweep,
    load_recipe,
    read_curves,
    read_history,
    read_landscapes,
    read_scores,
    read_subspace,
    read_sweep_scores,
    run_study,
    sample_landscape,
)
from deltaspace.study.folder import Folder
from deltaspace.study.record import read_record
from deltaspace.study.stage import STAGES
from tests.tiny import write_example

SHORT = {"steps": 2, "evaluate_every": 1, "batch_size": 4, "lr": 0.02}


class Log(Observer):
    def __init__(self):
        self.made, self.notes = [], []

    def note(self, text):
        self.notes.append(text)

    def start(self, artefact, reason):
        self.made.append((artefact.path, reason))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study with a landscape, and its recipe beside it. Read-only."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = write_example(folder)
    change(
        recipe, landscapes=[{"task": "unseen", "points": ["mean", "zero"], "name": "path", "grid": "0:1:3"}], rivals=["random"]
    )
    run_study(load_recipe(recipe), folder / "study")
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(finished, tmp_path / "folder")
    return tmp_path / "folder"


def change(path, **keys):
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))


def go(folder):
    log = Log()
    run_study(load_recipe(folder / "recipe.yaml"), folder / "study", observer=log)
    return log.made


def said(path):
    """What an artefact says."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["deltaspace"])


def rewrite(path, metadata):
    """Have a hand put other words into an artefact."""
    if path.suffix == ".json":
        path.write_text(json.dumps(metadata))
    else:
        save_file(load_file(path), path, metadata={"deltaspace": json.dumps(metadata)})


READERS = (read_scores, read_curves, read_landscapes, read_subspace)
ZERO, SOLUTION, SUBSPACE = "zero_shot/lora/unseen/0.json", "independent/lora/unseen/0.safetensors", "subspace/2/0.safetensors"
VECTOR, LANDSCAPE = "optimized/2/lora/unseen/0.safetensors", "landscapes/path.safetensors"
HANDS = {
    "no row": (ZERO, lambda m: m.pop("row")),
    "a row that is a list": (ZERO, lambda m: m.update(row=[1])),
    "a score that is a text": (SOLUTION, lambda m: m["row"].update(score="high")),
    "a row with another field": (ZERO, lambda m: m["row"].update(colour="red")),
    "a row of another stage": (ZERO, lambda m: m["row"].update(stage=7)),
    "a row of another task": (ZERO, lambda m: m["row"].update(task="source")),
    "no key": (SUBSPACE, lambda m: m.pop("key")),
    "a key that is a list": (SUBSPACE, lambda m: m.update(key=[2, 0])),
    "a key of other types": (VECTOR, lambda m: m["key"].update(dim="2")),
    "a key without a part": (VECTOR, lambda m: m["key"].pop("dim")),
    "a key of elsewhere": (SUBSPACE, lambda m: m["key"].update(dim=3)),
    "no made_from": (LANDSCAPE, lambda m: m.pop("made_from")),
    "a made_from that is a list": (LANDSCAPE, lambda m: m.update(made_from=[1])),
    "a made_from that is no path": (LANDSCAPE, lambda m: m.update(made_from={"a\0b.json": "0" * 64})),
    "a fingerprint that is a number": (ZERO, lambda m: m.update(fingerprint=12)),
    "a fingerprint that is a path": (ZERO, lambda m: m.update(fingerprint="../..")),
    "a curve that is none": (SOLUTION, lambda m: m.update(curve=7)),
    "a curve of texts": (SOLUTION, lambda m: m.update(curve=[["1", "2", "3"]])),
    "a landscape without a name": (LANDSCAPE, lambda m: m["key"].pop("name")),
}


@pytest.mark.parametrize("sealed", [True, False], ids=["with its digest", "written before there were digests"])
@pytest.mark.parametrize("case", HANDS)
def test_what_a_hand_changed_is_told_and_made_anew(folder, case, sealed):
    path, hand = HANDS[case]
    file = folder / "study" / path
    before = [(row.stage, row.task, row.delta, row.score) for row in read_scores(folder / "study")]
    metadata = said(file)
    hand(metadata)
    if not sealed:
        del metadata["digest"]
    rewrite(file, metadata)
    for reader in READERS:
        try:
            reader(folder / "study")
        except DeltaspaceError as error:
            assert path in str(error)
    with pytest.raises(DeltaspaceError, match="is damaged"):
        read_record(Folder(folder / "study"), path)
    assert go(folder)[0] == (path, "damaged")
    assert [(row.stage, row.task, row.delta, row.score) for row in read_scores(folder / "study")] == before
    assert go(folder) == []


@pytest.mark.parametrize("key", ["dim", "shared", "deltas", "sources"])
def test_anything_that_an_artefact_says_is_under_its_digest(folder, key):
    metadata = said(folder / "study" / SUBSPACE)
    rewrite(folder / "study" / SUBSPACE, {**metadata, key: None})
    with pytest.raises(DeltaspaceError, match="does not match its digest"):
        read_subspace(folder / "study")
    assert go(folder)[0] == (SUBSPACE, "damaged")


def test_artefacts_of_before_there_were_digests_are_valid(folder):
    before = read_scores(folder / "study")
    for stage in STAGES:
        for path in Folder(folder / "study").files(stage):
            metadata = said(folder / "study" / path)
            del metadata["digest"]
            rewrite(folder / "study" / path, metadata)
    assert read_scores(folder / "study") == before
    assert go(folder) == []


LEFT = {
    "a copy beside it": (SUBSPACE, "subspace/2/1.safetensors"),
    "an earlier layout": (SUBSPACE, "subspace/2-0.safetensors"),
    "a row somewhere else": (ZERO, "zero_shot/lora/0.json"),
    "a vector of another folder": (VECTOR, "optimized/2/adapter/unseen/1.safetensors"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_lies_where_it_does_not_belong_is_told_and_set_aside(folder, case):
    path, where = LEFT[case]
    study = folder / "study"
    before = read_scores(study)
    (study / where).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(study / path, study / where)
    with pytest.raises(DeltaspaceError, match=f"{where}.*does not belong there[^$]*its key belongs to {path}"):
        read_scores(study)
    assert go(folder) == []
    assert read_scores(study) == before and read_subspace(study).dim == 2
    assert not (study / where).exists() and list((study / "superseded" / where).parent.glob("*"))


def test_what_is_no_artefact_at_all_is_set_aside_and_kept(folder):
    study = folder / "study"
    for name, text in (("a.json", "{}"), ("b.json", "not JSON"), ("c.safetensors", "short")):
        (study / "zero_shot" / name).write_text(text)
        (study / "landscapes" / name).write_text(text)
    with pytest.raises(DeltaspaceError, match=r"zero_shot/a\.json is damaged, or does not belong there"):
        read_scores(study)
    assert go(folder) == []
    assert read_scores(study) and list(read_landscapes(study)) == ["path"]
    for stage in ("zero_shot", "landscapes"):
        assert sorted(path.read_text() for path in (study / "superseded" / stage).glob("*.*")) == ["not JSON", "short", "{}"]


def test_a_study_of_an_earlier_layout_is_told(folder):
    study = folder / "study"
    for stage in STAGES:
        shutil.rmtree(study / stage, ignore_errors=True)
    assert read_scores(study) == []
    (study / "scores" / "zero_shot").mkdir(parents=True)
    (study / "scores" / "zero_shot" / "unseen-lora-0.json").write_text("{}")
    for reader in READERS:
        with pytest.raises(DeltaspaceError, match=r"earlier deltaspace[^$]*found: scores/"):
            reader(study)


def test_a_changed_d_sets_the_old_subspace_aside_and_it_comes_back(folder):
    study = folder / "study"
    change(folder / "recipe.yaml", dim=1)
    go(folder)
    assert read_subspace(study).dim == 1
    assert list((study / "superseded/subspace/2").glob("0.*.safetensors"))
    change(folder / "recipe.yaml", dim=2)
    assert go(folder) == []
    assert read_subspace(study).dim == 2


def test_verify_reads_the_tensors_too(folder, capsys):
    file = folder / "study" / VECTOR
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert go(folder) == []
    app(["run", str(folder / "recipe.yaml"), "--out", str(folder / "study"), "--verify"], standalone_mode=False)
    assert file.read_bytes()[-8:] == whole[-8:]
    log = Log()
    run_study(load_recipe(folder / "recipe.yaml"), folder / "study", verify=True, observer=log)
    assert log.made == []


def test_a_landscape_that_says_nonsense_is_damaged(folder):
    metadata = said(folder / "study" / LANDSCAPE)
    del metadata["digest"]
    for key, value in (("slice", 3), ("marks", {"lora": 1}), ("deltas", 7), ("slice", {})):
        rewrite(folder / "study" / LANDSCAPE, {**metadata, key: value})
        with pytest.raises(DeltaspaceError, match=r"path\.safetensors is damaged"):
            read_landscapes(folder / "study")


def test_a_subspace_that_says_nonsense_is_damaged(folder):
    metadata = said(folder / "study" / SUBSPACE)
    del metadata["digest"]
    for key, value in (("deltas", 3), ("plm", {}), ("sources", 7), ("deltas", {"lora": {"map": 5}})):
        rewrite(folder / "study" / SUBSPACE, {**metadata, key: value})
        with pytest.raises(DeltaspaceError, match=r"0\.safetensors is damaged|no kind of map|no map"):
            read_subspace(folder / "study")


@pytest.mark.parametrize("text", ["[1]", '{"lora/unseen/0": {}}', '{"lora/unseen/0": "zoo"}'])
def test_a_list_of_imports_that_is_none(folder, text):
    (folder / "study" / "imported").mkdir()
    (folder / "study" / "imported" / "imports.json").write_text(text)
    log = Log()
    run_study(load_recipe(folder / "recipe.yaml"), folder / "study", observer=log)
    assert log.made == [] and "imports.json is damaged" in log.notes[0]


@pytest.mark.parametrize("text", ["7", "[1]", "[{name: a}]", "- name: ../b", "a: [", "- {name: a, dim: 1}"])
def test_a_sweep_s_file_that_is_none(tmp_path, text):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(DeltaspaceError, match=r"sweep\.yaml is damaged"):
        read_sweep_scores(tmp_path)
    with pytest.raises(DeltaspaceError, match="is no sweep"):
        read_sweep_scores(tmp_path / "nothing")


def test_folders_may_be_texts(folder):
    study = str(folder / "study")
    assert run_study(load_recipe(str(folder / "recipe.yaml")), study) == 0
    for reader in (*READERS, read_history):
        assert reader(study)
    assert not is_sweep(study)
    name, _ = sample_landscape(study, SliceSpec(task="unseen", points=("mean", "zero"), name="path", grid="0:1:3"))
    assert name == "path"
    assert draw("scores", study)
    assert Landscape.load(f"{study}/{LANDSCAPE}").task == "unseen"
