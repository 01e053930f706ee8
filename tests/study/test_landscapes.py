"""Landscapes of a study: from a recipe or beside it, on every kind of slice, resumed, kept and left out when outdated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from deltaspace.cli import app, main
from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import sampling
from deltaspace.scoring import score
from deltaspace.study import (
    Observer,
    SliceSpec,
    load_recipe,
    read_history,
    read_landscapes,
    read_scores,
    read_subspace,
    run_study,
    sample_landscape,
)
from deltaspace.study.folder import Folder
from deltaspace.study.resources import Resources
from deltaspace.study.slices import make_slice


@pytest.fixture
def own(study, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(study, tmp_path / "study")
    return tmp_path / "study"


class Log(Observer):
    def __init__(self):
        self.made, self.planned = [], None

    def plan(self, todo, done):
        self.planned = (todo, done)

    def start(self, artefact, reason):
        self.made.append((artefact.path, reason))


def test_a_recipe_s_landscapes_are_there_planes_first(study):
    found = read_landscapes(study)
    assert list(found) == ["plane", "path"]
    assert found["plane"].slice.shape == (9, 9) and found["path"].slice.shape == (5,)
    assert found["plane"].deltas == ("adapter", "lora", "prefix") and found["plane"].sampled == 1


def test_its_points_have_the_scores_that_the_study_found(study):
    """The ends of a path are the adapter's and LoRA's vectors: each delta's scores there are its rows of the study."""
    own = read_landscapes(study)["path"]
    found = {(r.source_delta, r.delta): r.score for r in read_scores(study) if r.task == "three" and r.seed == 0 and r.dim}
    for index, delta in enumerate(own.deltas):
        assert own.scores()[index, 0] == found["adapter", delta]
        assert own.scores()[index, -1] == found["lora", delta]


def test_explored_landscapes_are_kept_and_read_again(own):
    spec = SliceSpec(task="four", point="mean", directions=("principal-1", "random-1"), grid="-2:2:3,-1:1:5")
    log = Log()
    name, found = sample_landscape(own, spec, observer=log)
    assert name == "four-mean-principal-1-random-1-3-0" and found.slice.shape == (5, 3)
    assert log.made == [(f"landscapes/{name}.safetensors", "missing")]
    again = Log()
    assert np.array_equal(sample_landscape(own, spec, observer=again)[1].predictions, found.predictions)
    assert again.made == [] and again.planned == (0, 1)
    assert list(read_landscapes(own)) == [name, "plane", "path"]
    # It is no artefact of the recipe, and a run leaves it alone.
    run_study(load_recipe(own / "recipe.yaml"), own)
    assert name in read_landscapes(own)


def test_every_kind_of_point_and_direction(study):
    subspace = read_subspace(study)
    recipe = load_recipe(study / "recipe.yaml")
    vectors = {("three", "lora"): subspace.vector("three", "lora"), ("four", "adapter"): subspace.vector("four", "adapter")}
    asked = SliceSpec(task="three", points=("lora", "four:adapter", "one"))
    found = make_slice(recipe.settle(asked), subspace, vectors)
    codes = subspace.codes.mean(0)
    for point, wanted in {"lora": vectors["three", "lora"], "four:adapter": vectors["four", "adapter"], "one": codes[0]}.items():
        assert torch.allclose(found.origin + torch.tensor(found.marks[point]) @ found.directions, wanted, atol=1e-4)
    along = SliceSpec(task="three", point="zero", directions=((1.0, 0.0, 0.0), "principal-1"))
    made = make_slice(recipe.settle(along), subspace, {})
    assert not made.origin.any() and torch.allclose(made.directions[0].abs(), torch.tensor([1.0, 0.0, 0.0]))
    between = torch.nn.functional.normalize(codes[1] - codes[0], dim=0)
    assert torch.linalg.matrix_rank(torch.cat([made.directions, between.unsqueeze(0)]), tol=1e-3) == 2
    drawn = [
        make_slice(recipe.settle(SliceSpec(task="three", point="mean", directions=(f"random-{i}",))), subspace, {})
        for i in (1, 1, 2)
    ]
    assert torch.equal(drawn[0].directions, drawn[1].directions) and not torch.equal(drawn[0].directions, drawn[2].directions)


def test_a_source_task_can_be_explored_around_its_code(own):
    name, found = sample_landscape(own, SliceSpec(task="one", points=("one", "two"), grid="0:1:3"))
    resources = Resources(load_recipe(own / "recipe.yaml"), Folder(own))
    subspace = read_subspace(own)
    wanted = score(
        resources.attached("lora", 0), resources.tasks["one"], subspace.decode("lora", subspace.codes.mean(0)[1])
    ).value
    assert found.scores()[1, -1] == wanted and not found.trajectories and name == "one-one-two-3-0"


WRONG = {
    "no such task": ({"task": "five"}, "no task 'five'"),
    "no such point": ({"task": "three", "points": ["lora", "apet"]}, "no point 'apet'"),
    "a source task has no vector": ({"task": "one"}, "one is a source task"),
    "no such d": ({"task": "three", "dim": 7}, "has no d = 7"),
    "no such seed": ({"task": "three", "seed": 9}, "has no seed = 9"),
    "one point": ({"task": "three", "points": ["lora"]}, "two points make a line"),
    "points and directions": ({"task": "three", "points": ["lora", "mean"], "point": "mean"}, "not both"),
    "directions without a point": ({"task": "three", "directions": ["random-1"]}, "needs a 'point'"),
    "three directions": ({"task": "three", "point": "mean", "directions": ["random-1"] * 3}, "one direction makes a line"),
    "a point twice": ({"task": "three", "points": ["lora", "lora", "zero"]}, "a point stands twice: lora, lora, zero"),
    "a point by two names": ({"task": "three", "points": ["lora", "three:lora", "zero"]}, "lora and three:lora are one point"),
    "a direction twice": ({"task": "three", "point": "mean", "directions": ["random-1"] * 2}, "a direction stands twice"),
    "a direction that is none": ({"task": "three", "point": "mean", "directions": ["up"]}, "no direction 'up'"),
    "a direction of two names": ({"task": "three", "point": "mean", "directions": ["random-01"]}, "no direction 'random-01'"),
    "a direction of two numbers": ({"task": "three", "point": "mean", "directions": [[1, 0]]}, "a direction has d numbers"),
    "a direction that is zero": ({"task": "three", "point": "mean", "directions": [[0, 0, 0]]}, "direction 1 is no direction"),
    "a direction that is nan": ({"task": "three", "point": "mean", "directions": [[1, 0, float("nan")]]}, "finite"),
    "a direction that is inf": ({"task": "three", "point": "mean", "directions": [[1, 0, float("inf")]]}, "finite"),
    "a direction beyond floats": ({"task": "three", "point": "mean", "directions": [[1, 0, 1e300]]}, "finite"),
    "directions of one line": (
        {"task": "three", "point": "mean", "directions": [[1, 0, 0], [2, 0, 0]]},
        "direction 1, direction 2 make no plane",
    ),
    "true is no seed": ({"task": "three", "seed": True}, "whole number"),
    "no grid": ({"task": "three", "grid": "1:2"}, "no grid '1:2'"),
    "a name that is a path": ({"task": "three", "name": "../out"}, "cannot be a landscape's name"),
    "an unknown key": ({"task": "three", "metric": "f1"}, "unknown key"),
    "a negative tolerance": ({"task": "three", "tolerance": -1}, "tolerance"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_in_a_recipe(own, case):
    spec, message = WRONG[case]
    text = yaml.safe_load((own / "recipe.yaml").read_text())
    (own / "recipe.yaml").write_text(yaml.safe_dump({**text, "landscapes": [spec]}))
    with pytest.raises(DeltaspaceError, match=message) as found:
        load_recipe(own / "recipe.yaml")
    assert "line" in str(found.value)


def test_two_landscapes_of_one_name_are_refused(own):
    text = yaml.safe_load((own / "recipe.yaml").read_text())
    (own / "recipe.yaml").write_text(
        yaml.safe_dump({**text, "landscapes": [{"task": "three"}, {"task": "three", "examples": 4}]})
    )
    with pytest.raises(DeltaspaceError, match="two landscapes are called"):
        load_recipe(own / "recipe.yaml")


def test_a_direction_that_the_codes_do_not_have(study):
    subspace, recipe = read_subspace(study), load_recipe(study / "recipe.yaml")
    asked = SliceSpec(task="three", point="mean", directions=("principal-2",))
    with pytest.raises(DeltaspaceError, match="there is no principal-2"):
        recipe.settle(asked)
    # Codes on one line may have fewer than their number lets expect.
    spec = asked.settled(list(recipe.deltas), recipe.dim, recipe.seed)
    with pytest.raises(DeltaspaceError, match="there is no principal-2"):
        make_slice(spec, subspace, {})


def test_a_plane_needs_two_dimensions(own):
    text = yaml.safe_load((own / "recipe.yaml").read_text())
    for landscape in ({"task": "three"}, {"task": "three", "point": "zero", "directions": ["random-1", "random-2"]}):
        (own / "recipe.yaml").write_text(yaml.safe_dump({**text, "dim": 1, "landscapes": [landscape]}))
        with pytest.raises(DeltaspaceError, match="a plane needs two dimensions"):
            load_recipe(own / "recipe.yaml")


def test_codes_that_deltas_do_not_share_are_refused_before_anything_is_trained(own):
    text = {**yaml.safe_load((own / "recipe.yaml").read_text()), "projection": "autoencoder"}
    along = {"task": "three", "name": "ways", "point": "zero"}
    wrong = [
        {"task": "three", "name": "ways", "points": ["lora", "mean"]},
        {"task": "three", "name": "ways", "points": ["lora", "one", "zero"]},
        {**along, "directions": ["principal-1"]},
    ]
    for landscape in wrong:
        (own / "recipe.yaml").write_text(yaml.safe_dump({**text, "landscapes": [landscape]}))
        with pytest.raises(DeltaspaceError, match=r"the landscape 'ways': .*codes that all deltas share.*projection autoencoder"):
            load_recipe(own / "recipe.yaml")
    right = {**along, "directions": ["random-1", [1, 0, 0]]}
    (own / "recipe.yaml").write_text(yaml.safe_dump({**text, "landscapes": [right]}))
    assert load_recipe(own / "recipe.yaml").landscapes


def test_default_names_tell_slices_apart(study):
    recipe = load_recipe(study / "recipe.yaml")

    def name(**asked):
        return recipe.settle(SliceSpec(task="three", **asked)).name

    given = [name(point="mean", directions=(way,)) for way in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))]
    assert given[0] == given[2] != given[1] and given[0].startswith("three-mean-given-")
    long = [name(point="mean", directions=(f"random-{'1' * 90}{last}",)) for last in (1, 2)]
    assert long[0] != long[1] and max(map(len, long)) <= 100


def test_a_killed_landscape_goes_on(own, monkeypatch):
    class Killed(Exception):
        pass

    class Stop(Observer):
        def progress(self, step, steps, text):
            if step == 20:
                raise Killed

    monkeypatch.setattr(sampling, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(sampling, "_CPU_TOKENS", 1)
    spec = SliceSpec(task="four", points=("adapter", "zero"), grid="0:4:9", precision="fp32")
    with pytest.raises(Killed):
        sample_landscape(own, spec, observer=Stop())
    assert len(list((own / ".running").glob("landscapes/*"))) == 1
    steps = []

    class Watch(Observer):
        def progress(self, step, steps_, text):
            steps.append((step, steps_))

    _, found = sample_landscape(own, spec, observer=Watch())
    assert steps[0][0] in (20, 21) and steps[-1] == (27, 27) and not list((own / ".running").glob("landscapes/*"))
    (own / "landscapes" / "four-adapter-zero-3-0.safetensors").unlink()
    assert np.array_equal(sample_landscape(own, spec)[1].losses, found.losses)


def test_what_was_tuned_anew_outdates_its_landscapes(own):
    text = yaml.safe_load((own / "recipe.yaml").read_text())
    changed = {**text, "optimize": {**text["optimize"], "lr": 0.2}, "landscapes": []}
    (own / "recipe.yaml").write_text(yaml.safe_dump(changed))
    with pytest.raises(DeltaspaceError, match="which is stale"):
        sample_landscape(own, SliceSpec(task="three"))
    run_study(load_recipe(own / "recipe.yaml"), own)
    assert read_landscapes(own) == {}
    (own / "recipe.yaml").write_text(yaml.safe_dump(text))
    log = Log()
    run_study(load_recipe(own / "recipe.yaml"), own, observer=log)
    assert log.made == [] and list(read_landscapes(own)) == ["plane", "path"]


def test_a_landscape_needs_what_it_is_laid_through(own):
    (own / "optimized/3/lora/three/0.safetensors").unlink()
    with pytest.raises(DeltaspaceError, match=r"lora/three/0\.safetensors, which is missing"):
        sample_landscape(own, SliceSpec(task="three", name="new"))
    with pytest.raises(DeltaspaceError, match="is not a study"):
        sample_landscape(own / "optimized", SliceSpec(task="three"))


def test_the_command_line(own, capsys):
    arguments = ["landscape", str(own), "--task", "four", "--point", "adapter", "--point", "lora", "--grid", "0:1:3"]
    app([*arguments, "--threshold", "80"], standalone_mode=False)
    told = capsys.readouterr().out
    assert (
        "regions at 80 % of each delta's best" in told
        and "common region" in told
        and max(len(line) for line in told.splitlines() if "figures:" not in line) <= 100
    )
    app([*arguments, "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert [row["region"] for row in found][:3] == ["adapter", "lora", "prefix"] and found[0][
        "landscape"
    ] == "four-adapter-lora-3-0"
    app(
        ["landscape", str(own), "--task", "four", "--point", "mean", "--direction", "1,0,0", "--grid", "0:1:3"],
        standalone_mode=False,
    )
    app(
        ["landscape", str(own), "--task", "four", "--point", "mean", "--direction", "0,1,0", "--grid", "0:1:3"],
        standalone_mode=False,
    )
    assert len([name for name in read_landscapes(own) if name.startswith("four-mean-given-")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "three", "--grid", "5"], "no grid '5'"),
        (["--task", "three", "--split", "train"], "split"),
        (["--task", "five"], "no task 'five'"),
        (["--task", "three", "--direction", "random-1"], "has one point"),
        (["--task", "three", "--threshold", "0"], "no threshold 0"),
    ],
)
def test_mistakes_on_the_command_line(study, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["deltaspace", "landscape", str(study), *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_the_history_says_what_ran_where(own):
    [first] = read_history(own)
    assert first.until is None and first.artefacts["landscapes"] == 2 and first.artefacts["transfer"] == 24
    assert first.machine["cores"] >= 1 and first.versions["torch"] == torch.__version__
    assert set(first.seconds) == set(first.artefacts)
    run_study(load_recipe(own / "recipe.yaml"), own)
    assert len(read_history(own)) == 1  # nothing was made
    (own / "optimized/3/lora/three/0.safetensors").unlink()
    run_study(load_recipe(own / "recipe.yaml"), own, until="optimized")
    assert read_history(own)[1].artefacts == {"optimization": 1}
    (own / "runs.json").write_text("{}")
    with pytest.raises(DeltaspaceError, match="is damaged"):
        read_history(own)
