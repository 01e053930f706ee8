"""A sweep on a tiny model: its points, shared solutions, resuming, mistakes, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
import yaml

from deltaspace.averages import over_seeds
from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.names import check_name
from deltaspace.report.tables import sweep_tables
from deltaspace.study import (
    Observer,
    Serial,
    Sweep,
    Workers,
    load_recipe,
    load_sweep,
    plan_sweep,
    read_history,
    read_scores,
    read_status,
    read_subspace,
    read_sweep_scores,
    run_study,
    run_sweep,
)
from deltaspace.study.engines.making import Making
from deltaspace.study.points import points
from tests.robustness.test_kills import contents
from tests.tiny import save_tiny, write_task

SHORT = {"steps": 4, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}


# With this learning rate a trained projection has no finite loss, and one in closed form takes no notice.
DIVERGING = 1e30


class Log(Observer):
    def __init__(self):
        self.made, self.given_up, self.planned = [], {}, ()

    def plan(self, todo, done):
        self.planned = todo, done

    def start(self, artefact, reason):
        self.made.append(artefact.path)

    def failed(self, artefact, why, *, again):
        assert not again
        self.given_up[artefact.path] = why


@pytest.fixture
def sweep_file(tmp_path):
    save_tiny("bert", tmp_path / "model")
    for name in ("one", "two", "three"):
        write_task(tmp_path / name, size=16)
    recipe = {
        "model": str(tmp_path / "model"),
        "deltas": [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}],
        "tasks": {"source": ["one", "two"], "unseen": ["three"]},
        "dim": 2,
        "projection": "dense",
        "train": SHORT,
        "approximate": SHORT,
        "optimize": SHORT,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write(
        tmp_path / "sweep.yaml",
        [{"projection": ["svd", {"dense": {"start": "random"}}], "dim": [1, 2]}, {"source_tasks": [1, 2]}],
    )
    return tmp_path / "sweep.yaml"


def write(path, grids):
    path.write_text(yaml.safe_dump({"recipe": "recipe.yaml", "grids": grids}))


def go(path, out):
    log = Log()
    sweep, recipe = load_sweep(path)
    assert run_sweep(sweep, recipe, out, observer=log) == len(log.made)
    return log.made


def test_every_point_once_and_every_solution_once(sweep_file, tmp_path):
    out = tmp_path / "out"
    made = go(sweep_file, out)
    assert sum(path.startswith("independent/independent/") for path in made) == 3 * 2
    found = {(r.projection, r.source_tasks, r.dim) for r in read_sweep_scores(out)}
    drawn = "dense start=random"
    assert found == {("svd", 2, 1), ("svd", 2, 2), (drawn, 2, 1), (drawn, 2, 2), ("dense", 1, 2), ("dense", 2, 2)}
    # Of each point: two deltas tuned, two pairs transferred, and the controls of these.
    counts = Counter(row.stage for row in read_sweep_scores(out))
    assert counts == dict.fromkeys(("optimized", "transferred", "mean_code", "in_span"), 6 * 2)
    assert go(sweep_file, out) == []


def test_a_sweep_grows(sweep_file, tmp_path):
    out = tmp_path / "out"
    write(sweep_file, {"projection": ["svd"]})
    go(sweep_file, out)
    write(sweep_file, {"projection": ["svd", "gaussian"], "deltas": [1, 2]})
    made = go(sweep_file, out)
    assert made
    assert not any(path.startswith("independent/") for path in made)
    assert sorted({(r.projection, r.deltas) for r in read_sweep_scores(out)}) == [
        ("gaussian", 1), ("gaussian", 2), ("svd", 1), ("svd", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("engine", [Serial(1, 1), Workers(2, joint_threads=1)], ids=["serial", "workers"])
def test_all_points_as_one_graph_are_what_point_after_point_is(sweep_file, tmp_path, engine):
    write(sweep_file, [{"projection": ["svd", {"dense": {"start": "random"}}], "seed": [0, 1]}, {"leave_out": ["two"]}])
    sweep, recipe = load_sweep(sweep_file)
    log = Log()
    made = run_sweep(sweep, recipe, tmp_path / "out", observer=log, engine=engine)
    assert made == len(log.made) == len(set(log.made)) == log.planned[0]
    listed = points(sweep, recipe)
    assert len(listed) == 3
    for point in listed:
        run_study(point.recipe, tmp_path / "alone" / point.name, engine=Serial(1, 1))
        assert contents(tmp_path / "out" / point.name) == contents(tmp_path / "alone" / point.name)
        assert read_scores(tmp_path / "out" / point.name)[0].score is not None
    # What they share is one file, made once.
    solutions = [path for path in log.made if "/independent/" in path]
    assert len(solutions) == 3 * 2 * 2 and all(path.startswith("independent/") for path in solutions)
    solution = "independent/lora/one/0.safetensors"
    assert len({(tmp_path / "out" / name / solution).stat().st_ino for name in ("independent", listed[0].name)}) == 1
    assert run_sweep(sweep, recipe, tmp_path / "out", observer=log, engine=engine) == 0
    assert log.planned == (0, made)


@pytest.mark.parametrize("engine", [Serial(1, 1), Workers(1, joint_threads=1)], ids=["serial", "workers"])
def test_a_point_that_fails_does_not_stop_the_others(sweep_file, tmp_path, engine, capsys):
    said = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    said["approximate"] = {**SHORT, "lr": DIVERGING}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said))
    # The point that fails is the first.
    write(sweep_file, {"projection": ["dense", "svd"]})
    out, log, (sweep, recipe) = tmp_path / "out", Log(), load_sweep(sweep_file)
    with pytest.raises(
        DeltaspaceError, match=r"dense-.*/subspace/2/0.safetensors could not be made, nor \d+ made from it"
    ) as told:
        run_sweep(sweep, recipe, out, observer=log, engine=engine)
    assert "lower its learning rate, lr" in str(told.value)
    assert {row.projection for row in read_sweep_scores(out)} == {"svd"}
    [lost] = log.given_up
    dense, svd = (point.name for point in points(sweep, recipe))
    assert lost == f"{dense}/subspace/2/0.safetensors"
    assert [read_history(out / name)[-1].ended for name in ("independent", dense, svd)] == ["finished", "failed", "finished"]
    assert list(read_history(out / dense)[-1].failed) == ["subspace/2/0.safetensors"]
    status = read_status(out)
    assert list(status.failed) == [lost] and not status.complete and status.holder is None
    assert read_status(out / svd).complete and read_status(out / "independent").complete
    said["approximate"] = SHORT
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said))
    made = go(sweep_file, out)
    assert made and all(path.startswith(f"{dense}/") for path in made)
    app(["status", str(out), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["complete"]


def test_a_point_that_cannot_be_made_is_told_before_anything_is_trained(sweep_file, tmp_path):
    write(sweep_file, {"projection": ["svd"], "dim": [1, 1000]})
    sweep, recipe = load_sweep(sweep_file)
    with pytest.raises(DeltaspaceError, match="the point svd-2-tasks-2-deltas-1000: "):
        run_sweep(sweep, recipe, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.safetensors"))


class Interfering(Observer):
    """Runs a point by itself while its sweep runs, and asks how far that is."""

    def __init__(self, point, out):
        self.point, self.out, self.told, self.status = point, out, [], None

    def start(self, artefact, reason):
        if not self.told:
            with pytest.raises(DeltaspaceError, match="is being run by another process") as told:
                run_study(self.point.recipe, self.out / self.point.name)
            self.told.append(told)
            self.status = read_status(self.out), read_status(self.out / self.point.name)


def test_a_sweep_that_runs_has_all_of_its_points(sweep_file, tmp_path):
    write(sweep_file, {"projection": ["svd"], "dim": [1]})
    sweep, recipe = load_sweep(sweep_file)
    [point] = points(sweep, recipe)
    interfering = Interfering(point, tmp_path / "out")
    run_sweep(sweep, recipe, tmp_path / "out", observer=interfering)
    assert interfering.told
    whole, alone = interfering.status
    assert whole.holder == alone.holder is not None and not whole.complete
    assert run_study(point.recipe, tmp_path / "out" / point.name) == 0
    # A run that was killed leaves no history.
    for history in (tmp_path / "out").glob("*/runs.json"):
        history.unlink()
    assert run_sweep(sweep, recipe, tmp_path / "out") == 0


def test_a_study_within_a_worker_shares_the_model_with_those_before_it(sweep_file, tmp_path):
    write(sweep_file, {"projection": ["svd"], "dim": [1, 2]})
    sweep, recipe = load_sweep(sweep_file)
    run_sweep(sweep, recipe, tmp_path / "out")
    names = [point.name for point in points(sweep, recipe)]
    making = Making()
    graphs = [making._open("run", str(tmp_path / "out" / name)).graph for name in names]
    first, second = (graph.resources for graph in graphs)
    assert first.backbone is second.backbone and first.attached("lora", 0) is second.attached("lora", 0)
    assert first.tasks["one"] is second.tasks["one"]
    assert making._open("run", str(tmp_path / "out" / names[0])).graph is graphs[0]
    again = making._open("another run", str(tmp_path / "out" / names[0])).graph
    assert again is not graphs[0] and again.resources.backbone is first.backbone


def test_a_point_for_which_there_is_no_recipe_is_told(sweep_file):
    write(sweep_file, {"projection": [{"aligned": {"leader": "lora"}}], "deltas": [2, 1], "dim": [2]})
    with pytest.raises(DeltaspaceError, match=r'cannot be: projection: \{"aligned".+deltas: 1, dim: 2, seed: \[0\]\n(.|\n)*lora'):
        load_sweep(sweep_file)


def test_a_study_s_folder_is_no_sweep_s(sweep_file, tmp_path):
    sweep, recipe = load_sweep(sweep_file)
    run_study(recipe, tmp_path / "study", until="zero_shot")
    for tried in (run_sweep, plan_sweep):
        with pytest.raises(DeltaspaceError, match=r"is not a sweep\n  found: .*recipe\.yaml"):
            tried(sweep, recipe, tmp_path / "study")


def test_a_sweep_s_folder_is_no_study_s(sweep_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.yaml").write_text("[]")
    with pytest.raises(DeltaspaceError, match="is a sweep"):
        run_study(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "out")


def test_mistakes(sweep_file):
    write(sweep_file, {"source_tasks": [3]})
    with pytest.raises(DeltaspaceError, match="source_tasks: 3"):
        load_sweep(sweep_file)
    write(sweep_file, {"dims": [3]})
    with pytest.raises(DeltaspaceError, match=r"grids\.dims: unknown key"):
        load_sweep(sweep_file)
    write(sweep_file, {"projection": ["nothing"]})
    with pytest.raises(DeltaspaceError, match="no projection 'nothing'"):
        load_sweep(sweep_file)


def test_the_command_line(sweep_file, tmp_path):
    def command(*arguments):
        run = [sys.executable, "-m", "deltaspace", *map(str, arguments)]
        return subprocess.run(run, capture_output=True, text=True, check=False)

    write(sweep_file, {"projection": ["svd"], "dim": [1, 2]})
    done = command("sweep", sweep_file, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Sweep: averages" in done.stdout
    shown = command("show", tmp_path / "out", "--figure", tmp_path / "figure.svg")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "figure.svg").read_bytes().startswith(b"<?xml")
    assert len(json.loads(command("show", tmp_path / "out", "--json").stdout)) == 2 * 8
    write(sweep_file, {"deltas": [9]})
    wrong = command("sweep", sweep_file, "--out", tmp_path / "out")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_a_setting_of_any_length_is_part_of_a_point_s_name(sweep_file, tmp_path):
    recipe = load_recipe(sweep_file.parent / yaml.safe_load(sweep_file.read_text())["recipe"])
    grids = [{"projection": [{"aligned": {"probe": f"/a/{'long ' * 30}folder/{name}"}} for name in "ab"], "dim": [1]}]
    names = [point.name for point in points(Sweep(recipe="recipe.yaml", grids=grids), recipe)]
    assert len(set(names)) == 2
    for name in names:
        assert check_name("a point", name) == name


def test_each_source_task_is_left_out_in_turn(sweep_file, tmp_path):
    out = tmp_path / "out"
    write(sweep_file, {"projection": ["svd"], "dim": [1], "leave_out": "each"})
    made = go(sweep_file, out)
    # Every solution was trained once, also those of tasks that are unseen at one point and a source at another.
    assert sum(path.startswith("independent/independent/") for path in made) == 3 * 2
    rows = read_sweep_scores(out)
    assert {(row.left_out, row.task, row.source_tasks) for row in rows} == {("one", "one", 1), ("two", "two", 1)}
    sources = [read_subspace(out / f"svd-1-tasks-2-deltas-1-without-{name}").sources for name in ("one", "two")]
    assert sources == [("two",), ("one",)]
    lines, controls = ([[str(cell) for cell in column.cells] for column in table.columns] for table in sweep_tables(rows))
    assert lines[4] == controls[4] == ["one", "two", "mean of 2"]
    # Every point has its controls beside transfer.
    headings = [[column.header for column in table.columns][6:] for table in sweep_tables(rows)]
    assert headings == [["optimization", "transfer"], ["transfer", "mean code", "in span"]]
    for line, name in enumerate(("one", "two")):
        [mean] = over_seeds([row for row in rows if (row.left_out, row.stage) == (name, "mean_code")], "relative")
        assert controls[7][line].split("|")[0] == f"{mean:.1f}"
    assert go(sweep_file, out) == []


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"leave_out": ["three"]}, "cannot leave out 'three'"),
        ({"leave_out": "each", "source_tasks": [1]}, "needs two source tasks or more, and all"),
    ],
)
def test_what_cannot_be_left_out(sweep_file, grid, message):
    write(sweep_file, grid)
    with pytest.raises(DeltaspaceError, match=message):
        load_sweep(sweep_file)
