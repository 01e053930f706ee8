"""A zoo compressed: what is lost of each checkpoint is told, and is what is lost when all are written again."""

from __future__ import annotations

import gc
import json
import math
import weakref

import pytest
import torch
from peft import IA3Config, LoraConfig
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from deltaspace.backbone import load_backbone
from deltaspace.checkpoints import Checkpoints
from deltaspace.checkpoints.compress import compress, errors_of
from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import check_export
from deltaspace.subspace import load_subspace
from deltaspace.subspace.fitting.displacements import Displaced, InMemory
from tests.study.test_zoo import checkpoint
from tests.tiny import save_tiny

COUNT = 6
# Of the LoRAs below: two matrices in two layers, A and B each.
TENSORS = 8


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words):
    result = command(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


@pytest.fixture
def zoo(tmp_path):
    save_tiny("bert", tmp_path / "model")
    return [checkpoint(tmp_path, tmp_path / "zoo" / f"task-{index}", seed=index) for index in range(COUNT)]


def tensors_of(folder):
    return load_file(folder / "adapter_model.safetensors")


def displacements(folders, against):
    """Each checkpoint's tensors as one vector, from the mean of all `against`."""
    names = sorted(tensors_of(folders[0]))
    rows, others = ([torch.cat([tensors_of(f)[name].flatten() for name in names]) for f in some] for some in (folders, against))
    return torch.stack(rows) - torch.stack(others).mean(0)


@pytest.mark.parametrize("dim", [5, 20, COUNT * TENSORS])
def test_the_error_that_is_told_is_that_of_the_checkpoints_that_come_out_again(zoo, tmp_path, dim):
    space, again = tmp_path / "space", tmp_path / "again"
    said = json.loads(told("compress", *zoo, "-o", space, "--dim", dim, "--json"))
    errors = {row["task"]: row["parameter_error"] for row in said["checkpoints"]}
    assert list(errors) == [folder.name for folder in zoo]
    assert said["bytes_before"] == sum((folder / "adapter_model.safetensors").stat().st_size for folder in zoo)
    listed = json.loads(told("export", space, "--all", "-o", again, "--json"))
    assert [row["parameter_error"] for row in listed] == list(errors.values()) and all(row["written"] for row in listed)
    before, after = displacements(zoo, zoo), displacements([again / folder.name for folder in zoo], zoo)
    measured = (after - before).norm(dim=1) / before.norm(dim=1)
    torch.testing.assert_close(measured, torch.tensor(list(errors.values())), rtol=1e-3, atol=1e-5)
    # All directions are all that there is; few of them lose much, and no other d of single tensors would lose less.
    if dim == COUNT * TENSORS:
        assert max(errors.values()) < 1e-4
    else:
        names = sorted(tensors_of(zoo[0]))
        sizes = [tensors_of(zoo[0])[name].numel() for name in names]
        squares = torch.cat([torch.linalg.svdvals(part).square() for part in before.split(sizes, dim=1)]).sort().values
        lost = math.sqrt(float(squares[: len(squares) - dim].sum()))
        assert float((after - before).norm()) == pytest.approx(lost, rel=1e-3) and lost > 0.1 * float(before.norm())
    card = (again / zoo[0].name / "README.md").read_text()
    assert f"| parameter error | {errors[zoo[0].name]:.2%} of the displacement |" in card
    for folder in zoo:
        config = json.loads((again / folder.name / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"], set(config["target_modules"])) == (2, 4, {"query", "value"})


def test_people_are_told_too(zoo, tmp_path):
    shown = told("compress", *zoo, "-o", tmp_path / "space", "--dim", 10)
    assert "6 checkpoints in 10 dimensions" in shown and "nothing was deleted" in shown and "task-5" in shown
    shown = told("export", tmp_path / "space", "--all", "-o", tmp_path / "again")
    assert "6 checkpoints written, 6 there" in shown and "error %" in shown
    assert "0 checkpoints written, 6 there" in told("export", tmp_path / "space", "--all", "-o", tmp_path / "again")
    assert all(folder.is_dir() for folder in zoo)


def test_an_export_that_ended_early_goes_on(zoo, tmp_path, monkeypatch):
    space, again = tmp_path / "space", tmp_path / "again"
    told("compress", *zoo, "-o", space, "--dim", 10)
    with monkeypatch.context() as patched:
        from peft import PeftModel

        save, done = PeftModel.save_pretrained, []

        def two(self, *args, **rest):
            save(self, *args, **rest)
            done.append(1)
            if len(done) > 2:
                raise KeyboardInterrupt

        patched.setattr(PeftModel, "save_pretrained", two)
        assert command("export", space, "--all", "-o", again).exit_code != 0
    assert sorted(path.name for path in again.iterdir()) == ["task-0", "task-1"]
    whole = (again / "task-0" / "adapter_model.safetensors").stat().st_mtime_ns
    (again / "task-1" / "adapter_model.safetensors").unlink()
    rows = json.loads(told("export", space, "--all", "-o", again, "--json"))
    assert [row["written"] for row in rows] == [False, *[True] * 5]
    assert (again / "task-0" / "adapter_model.safetensors").stat().st_mtime_ns == whole
    # Of another space all are others; what somebody else put there stays.
    told("compress", *zoo, "-o", space, "--dim", 11)
    assert all(row["written"] for row in json.loads(told("export", space, "--all", "-o", again, "--json")))
    (again / "task-3" / "mine.txt").write_text("x")
    refused = command("export", space, "--all", "-o", again).exception
    assert isinstance(refused, DeltaspaceError) and "mine.txt" in refused.found


def test_one_checkpoint_is_in_memory_at_a_time(zoo, tmp_path, monkeypatch):
    alive, most, wide = weakref.WeakSet(), [], []
    read, columns = Checkpoints.__getitem__, Displaced.columns

    def counted(self, index):
        made = read(self, index)
        alive.add(made)
        gc.collect()
        most.append(len(alive))
        return made

    def measured(self, start, stop):
        wide.append(stop - start)
        return columns(self, start, stop)

    monkeypatch.setattr(Checkpoints, "__getitem__", counted)
    monkeypatch.setattr(Displaced, "columns", measured)
    rows = compress(list(map(str, zoo)), load_backbone(str(tmp_path / "model")), tmp_path / "space", dim=10)
    # Read twice, for the file beside the output and for the mean (the tests' checks of types look at some too). That before goes
    # when the next is there.
    assert len(rows) == COUNT and len(most) >= 2 * COUNT and max(most) <= 3
    assert len(wide) >= 2 * TENSORS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "space", "zoo"]


def test_other_methods_of_peft_and_a_seed_that_is_known(tmp_path):
    save_tiny("bert", tmp_path / "model")
    config = IA3Config(target_modules=["query", "output.dense"], feedforward_modules=["output.dense"])
    zoo = [checkpoint(tmp_path, tmp_path / "zoo" / f"{index}", config, seed=index) for index in range(3)]
    told("compress", *zoo, "-o", tmp_path / "space", "--dim", 6)
    space = load_subspace(tmp_path / "space")
    assert list(space.entries) == ["ia3"] and "no seed changes" in space.history["initial"]
    told("export", tmp_path / "space", "--all", "-o", tmp_path / "again")
    assert set(tensors_of(tmp_path / "again" / "0")) == set(tensors_of(zoo[0]))
    assert errors_of(space, "ia3").keys() == {"0", "1", "2"}
    # `checkpoint` draws from this seed.
    loras = [checkpoint(tmp_path, tmp_path / "loras" / f"{index}", seed=index) for index in range(2)]
    told("compress", *loras, "-o", tmp_path / "other", "--dim", 6, "--initial-seed", 7)
    assert load_subspace(tmp_path / "other").history["initial"] == "drawn again from torch.manual_seed(7)"


def test_what_does_not_fit_is_told_and_nothing_is_written(zoo, tmp_path):
    checkpoint(tmp_path, zoo[2], LoraConfig(r=3, lora_alpha=4, target_modules=["query", "value"]))
    checkpoint(tmp_path, zoo[4], LoraConfig(r=2, lora_alpha=4, target_modules=["key"]))
    twin = checkpoint(tmp_path, tmp_path / "twin" / "task-0")
    before = sorted(path.name for path in tmp_path.iterdir())
    for words, phrase in (
        ([*zoo, "--dim", 5], "2 of 6 checkpoints do not fit lora"),
        ([*zoo[:2], twin, "--dim", 5], "two checkpoints are called task-0"),
        ([*zoo[:2], "--dim", 17], "no 17 directions"),
        ([zoo[0], "--dim", 5], "the initial values of lora are not known"),
    ):
        refused = command("compress", *words, "-o", tmp_path / "space").exception
        assert isinstance(refused, DeltaspaceError) and refused.what.startswith(phrase) and refused.mend
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    refused = command("compress", *zoo[:2], "--dim", 5, "-o", zoo[0]).exception
    assert isinstance(refused, DeltaspaceError) and "what it is made from is there" in refused.found


def test_options_that_do_not_go_with_all(zoo, tmp_path):
    told("compress", *zoo[:2], "-o", tmp_path / "space", "--dim", 4)
    for words in (("--task", "task-0"), ("--merge",), ("--push-to-hub", "me/mine")):
        refused = command("export", tmp_path / "space", "--all", "-o", tmp_path / "again", *words).exception
        assert isinstance(refused, DeltaspaceError) and refused.what.startswith("--all writes every task")
    refused = command("export", tmp_path / "space", "--all", "-o", tmp_path / "x.gguf").exception
    assert isinstance(refused, DeltaspaceError)


def test_rows_from_a_point():
    rows, point = torch.arange(6.0).view(2, 3), torch.tensor([1.0, 2.0, 3.0])
    displaced = Displaced(InMemory(rows), point)
    assert displaced.columns(1, 3).equal(rows[:, 1:] - point[1:]) and displaced.take([1]).equal(rows[1:] - point)
    assert (displaced.shape, displaced.dtype) == ((2, 3), torch.float32)


def test_a_checkpoint_that_was_changed_is_written_anew(zoo, tmp_path):
    space, again = tmp_path / "space", tmp_path / "again"
    told("compress", *zoo, "-o", space, "--dim", 20)
    told("export", space, "--all", "-o", again)
    weights = again / "task-1" / "adapter_model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    (again / "task-2" / "adapter_config.json").write_text("{}", encoding="utf-8")
    told("export", space, "--all", "-o", again)
    assert weights.read_bytes() == before and json.loads((again / "task-2" / "adapter_config.json").read_bytes())["r"]


def test_a_space_is_not_lost_to_a_checkpoint(zoo, tmp_path):
    space, again = tmp_path / "space", tmp_path / "again"
    told("compress", *zoo, "-o", space, "--dim", 20)
    told("export", space, "--all", "-o", again)
    held = {path.name: path.read_bytes() for path in space.iterdir()}
    refused = command("compress", *zoo, "-o", again / "task-1", "--dim", 20).exception
    assert isinstance(refused, DeltaspaceError) and refused.found == "a checkpoint is there"
    with pytest.raises(DeltaspaceError, match="a subspace is there"):
        check_export(space, "a checkpoint")
    assert held == {path.name: path.read_bytes() for path in space.iterdir()}


def scaled(folder, factor):
    tensors = {name: tensor * factor for name, tensor in tensors_of(folder).items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def test_what_one_checkpoint_far_away_costs_the_others_is_told(zoo, tmp_path):
    scaled(zoo[0], 1e6)
    rows = compress([str(path) for path in zoo], load_backbone(str(tmp_path / "model")), tmp_path / "space", dim=10)
    assert min(row.parameter_error for row in rows[1:]) > 1e-3


def test_numbers_whose_squares_are_infinite_are_refused(zoo, tmp_path):
    scaled(zoo[0], 1e30)
    with pytest.raises(DeltaspaceError, match="cannot be decomposed"):
        compress([str(path) for path in zoo], load_backbone(str(tmp_path / "model")), tmp_path / "space", dim=10)
    assert not (tmp_path / "space").exists()


def test_a_space_has_no_checkpoints_put_among_its_files(zoo, tmp_path):
    space = tmp_path / "space"
    told("compress", *zoo, "-o", space, "--dim", 10)
    held = sorted(space.iterdir())
    refused = command("export", space, "--all", "-o", space).exception
    assert isinstance(refused, DeltaspaceError) and refused.found == "what it is made from is there"
    assert sorted(space.iterdir()) == held
