"""A study on a Ray cluster: the same rows and tensors as one process makes, also where a node goes in the middle."""

from __future__ import annotations

import json
import os
import random
import signal

import pytest

from deltaspace.errors import DeltaspaceError
from deltaspace.precision import in_precision
from deltaspace.study import Ray, Serial, load_recipe, load_sweep, read_history, run_study, run_sweep
from tests.robustness.test_kills import contents
from tests.study.test_workers import Log, read_until, start
from tests.tiny import write_example

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'deltaspace[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning")
STORE = 100 << 20


@pytest.fixture
def cluster():
    """Two nodes of one CPU on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


class Removing(Log):
    """Takes a node away when some artefacts are there."""

    def __init__(self, cluster, node, after):
        super().__init__()
        self.cluster, self.node, self.after = cluster, node, after

    def start(self, artefact, reason):
        super().start(artefact, reason)
        self.after -= 1
        if self.after == 0:
            self.cluster.remove_node(self.node)


def remove_in_the_middle(cluster, example, out, after):
    recipe, wanted = example
    log = Removing(*cluster, after)
    made = run_study(load_recipe(recipe), out, observer=log, engine=Ray(max_retries=5))
    assert log.after <= 0
    assert contents(out) == wanted and made == len(log.ended) == len(set(log.ended)) == 18
    assert all(again for _, _, again in log.failures)
    [record] = read_history(out)
    assert record.ended == "finished" and sum(sum(made.values()) for made in record.workers.values()) == 18
    return log


def test_a_node_that_goes_in_the_middle_loses_nothing(cluster, example, tmp_path):
    log = remove_in_the_middle(cluster, example, tmp_path / "study", 5)
    assert any("Ray: 2 nodes with 2 CPUs" in note for note in log.notes)
    assert ray.is_initialized()  # the connection was somebody else's


def test_products_are_of_the_precision_that_was_asked_for_where_the_run_began(cluster, example, tmp_path):
    recipe, in_fp32 = example
    # The cluster was started without it.
    with in_precision("bf16"):
        run_study(load_recipe(recipe), tmp_path / "ray", until="independent", engine=Ray())
        run_study(load_recipe(recipe), tmp_path / "serial", until="independent", engine=Serial(1))
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")
    assert any(in_fp32[name] != made for name, made in contents(tmp_path / "ray").items() if name.endswith(".safetensors"))


def test_the_points_of_a_sweep_are_one_graph_there_too(cluster, tmp_path):
    write_example(tmp_path)
    (tmp_path / "sweep.yaml").write_text(json.dumps({"recipe": "recipe.yaml", "grids": {"dim": [1, 2]}}))
    sweep = load_sweep(tmp_path / "sweep.yaml")
    log = Log()
    made = run_sweep(*sweep, tmp_path / "ray", observer=log, engine=Ray())
    assert made == len(log.ended) == len(set(log.ended)) == run_sweep(*sweep, tmp_path / "serial")
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_20_nodes_that_go(cluster, example, tmp_path, seed):
    remove_in_the_middle(cluster, example, tmp_path / "study", random.Random(seed).randrange(1, 17))


def test_a_cluster_of_this_machine_ends_with_the_run_and_a_mistake_is_told(example, tmp_path):
    recipe = write_example(tmp_path)

    class Change(Log):
        def plan(self, todo, done):
            path = tmp_path / "source" / "train.jsonl"
            path.write_text(path.read_text().replace("good", "fine", 1))

    with pytest.raises(DeltaspaceError, match="would be made from something else on"):
        run_study(load_recipe(recipe), tmp_path / "study", until="independent", observer=Change(), engine=Ray("local"))
    assert not ray.is_initialized()
    assert len(list((tmp_path / "study" / "independent").rglob("*.safetensors"))) == 2


def test_a_cluster_that_is_not_there_is_told(example, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(DeltaspaceError, match="there is no Ray cluster at auto"):
        run_study(load_recipe(example[0]), tmp_path / "study", engine=Ray())
    assert os.environ["RAY_TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_at_a_saved_step(example, tmp_path, number):
    recipe, wanted = example
    out = tmp_path / "study"
    process = start(tmp_path, "run", recipe, "--out", out, "--ray", "local")
    told = read_until(process, 4)
    os.kill(process.pid, number)
    told += process.communicate(timeout=500)[1]
    assert process.returncode == 128 + number, told
    assert f"interrupted by {number.name}: what is finished is kept" in told and "Traceback" not in told
    assert read_history(out)[-1].ended == f"interrupted by {number.name}"
    run_study(load_recipe(recipe), out)
    assert contents(out) == wanted


@pytest.mark.parametrize("wrong", [{"cpus_per_task": 0.0}, {"gpus_per_task": -1.0}])
def test_tasks_that_take_nothing_are_refused(wrong):
    with pytest.raises(DeltaspaceError, match="a task cannot take so much"):
        Ray(**wrong)
