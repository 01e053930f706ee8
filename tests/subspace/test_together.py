"""The joint training over two processes: the losses and maps of one process with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.study import Sweep, load_recipe, read_subspace, run, run_study, run_sweep, sweep
from deltaspace.study.folder import Folder
from deltaspace.study.record import read_record
from deltaspace.training import Processes, StepLoss
from tests.subspace import together
from tests.tiny import write_example


def launch(*words):
    """Two processes on the CPU, which exchange gradients by gloo; how that ended.

    `accelerate launch` starts several processes by torch's own launcher, but on CPUs only through MPI.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_two_processes_train_as_one_does(tmp_path):
    done = launch("tests.subspace.together", tmp_path, 2)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["count"] == 2 and first == second
    together.main(tmp_path, 2)
    alone = json.loads((tmp_path / "0.json").read_text())
    assert alone["count"] == 1
    for method in together.METHODS:
        curve, expected = first[method]["curve"], alone[method]["curve"]
        assert [step for step, *_ in curve] == [step for step, *_ in expected] == list(range(7))
        losses = torch.tensor([loss for *_, loss in curve]), torch.tensor([loss for *_, loss in expected])
        torch.testing.assert_close(*losses, rtol=0, atol=1e-5)
        assert not torch.allclose(losses[0][0], losses[0][-1], rtol=0, atol=1e-4), method  # it does train
        for vector, wanted in zip(first[method]["decoded"], alone[method]["decoded"], strict=True):
            torch.testing.assert_close(torch.tensor(vector), torch.tensor(wanted), rtol=0, atol=1e-5)


def test_a_study_whose_subspace_two_processes_train(tmp_path):
    recipe = write_example(tmp_path)
    short = {"steps": 4, "lr": 0.02, "batch_size": 4, "evaluate_every": 2}
    said = {**json.loads(recipe.read_text()), "projection": "dense", "approximate": {**short, "accumulate": 2}}
    recipe.write_text(json.dumps(said))
    out = tmp_path / "study"
    done = launch("deltaspace", "approximate", recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("made in") == 1
    run_study(load_recipe(recipe), tmp_path / "alone", until="subspace")
    told = [read_record(Folder(tmp_path / name), "subspace/2/0.safetensors") for name in ("study", "alone")]
    assert told[0].fingerprint == told[1].fingerprint
    subspaces = [read_subspace(tmp_path / name) for name in ("study", "alone")]
    curves = [torch.tensor(subspace.history["curve"]) for subspace in subspaces]
    torch.testing.assert_close(*curves, rtol=0, atol=1e-5)
    for delta in ("adapter", "lora"):
        decoded = [subspace.decode(delta, subspace.mean_code(delta)) for subspace in subspaces]
        torch.testing.assert_close(*decoded, rtol=0, atol=1e-5)
    assert run_study(load_recipe(recipe), out, until="subspace") == 0
    assert not [path for path in (out / ".running").rglob("*") if path.is_file()]
    # What cannot be shared is told once, and every process ends.
    recipe.write_text(json.dumps({**said, "approximate": {**short, "accumulate": 3}}))
    done = launch("deltaspace", "approximate", recipe, "--out", out)
    assert done.returncode != 0
    assert done.stderr.count("2 processes cannot share the 3 batches of a step") == 1


def test_engines_that_start_processes_are_refused_there(tmp_path, monkeypatch):
    recipe = load_recipe(write_example(tmp_path))
    monkeypatch.setattr(run, "launched", lambda: Processes(0, 2))
    with pytest.raises(DeltaspaceError, match="the engine workers starts processes of its own"):
        run_study(recipe, tmp_path / "study", engine="workers")
    monkeypatch.setattr(sweep, "launched", lambda: Processes(0, 2))
    with pytest.raises(DeltaspaceError, match="a sweep is run by one process"):
        run_sweep(Sweep(recipe="recipe.yaml", grids={"dim": [1]}), recipe, tmp_path / "sweep")
    assert not (tmp_path / "study").exists() and not (tmp_path / "sweep").exists()


def test_batches_that_cannot_be_shared_are_one_message():
    Processes(1, 2).check(4)
    with pytest.raises(DeltaspaceError, match=r"2 processes cannot share the 3 batches of a step\n.*multiple of 2"):
        Processes(0, 2).check(3)


def test_each_batch_is_one_process_s():
    """And the mean counts all of them."""
    asked = []

    def loss(values, batch):
        asked.append(batch)
        return values[0] * batch

    for rank in range(3):
        value = torch.ones((), requires_grad=True)
        step = StepLoss([value], loss, range(6, 12), Processes(rank, 3))
        step.processes = _Silent(rank, 3)
        step.backward()
        assert value.grad == pytest.approx((6 + rank + 9 + rank) / 6)
    assert sorted(asked) == list(range(6, 12))


class _Silent(Processes):
    """Of which the others say nothing."""

    def total(self, number):
        return number


@pytest.mark.parametrize(("group", "told"), [(True, "done\n"), (False, "done\nthe interpreter ends\n")])
def test_a_command_of_several_processes_ends_with_its_work(tmp_path, group, told):
    """The interpreter's own end is left out where threads of a group may still ask for it."""
    lines = ["import atexit, torch.distributed as distributed", "from deltaspace.cli.entry import _end"]
    if group:
        lines.append(f"distributed.init_process_group('gloo', init_method={f'file://{tmp_path}/group'!r}, rank=0, world_size=1)")
    lines += ["atexit.register(print, 'the interpreter ends')", "print('done')", "_end(3)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, told), done.stderr
