"""Where files are written: nothing of others is replaced, nothing is half-written, what fails leaves all as it was."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from deltaspace.cli import main
from deltaspace.errors import DeltaspaceError
from deltaspace.figures import draw, save_figure
from deltaspace.model_files import check_config, weight_files
from deltaspace.report import write_report
from deltaspace.storage import (
    atomic,
    check_export,
    check_output,
    exporting,
    file_digest,
    read_json,
    read_metadata,
    read_tensors,
    replacing,
    replacing_folder,
    write_json,
    write_tensors,
    write_text,
)
from deltaspace.study import load_recipe, load_sweep, read_subspace, run_study, run_sweep
from deltaspace.study.check import check_recipe
from deltaspace.study.folder import Folder
from deltaspace.subspace import load_subspace, save_subspace
from deltaspace.tasks.sources.folder import read_examples
from deltaspace.tasks.spec import Columns
from tests.robustness.wrong_recipes import recipe


def tree(folder):
    """All that is in a folder, with what links lead to and what files hold."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def put(path, what):
    """Put something that is no plain file at a path."""
    if what == "link":
        (path.parent / "target").write_text("precious")
        path.symlink_to(path.parent / "target")
    elif what == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "folder":
        path.mkdir()
        (path / "precious").write_text("precious")
    elif what == "pipe":
        os.mkfifo(path)


@pytest.mark.parametrize("what", ["link", "dangling link", "loop", "folder", "pipe"])
def test_what_is_no_plain_file_is_neither_replaced_nor_read(tmp_path, what):
    path = tmp_path / "out.json"
    put(path, what)
    before = tree(tmp_path) if what != "loop" else path.readlink()
    with pytest.raises(DeltaspaceError, match="cannot write"):
        write_json(path, {})
    if what != "link":
        for read in (read_json, read_metadata):
            with pytest.raises(DeltaspaceError, match=r"out\.json"):
                read(path)
    assert (path.readlink() if what == "loop" else tree(tmp_path)) == before


def test_a_hard_link_is_a_file_whose_other_name_stays(tmp_path):
    write_text(tmp_path / "a", "old")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    write_text(tmp_path / "b", "new")
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_modes_are_the_user_s(tmp_path, umask):
    old = os.umask(umask)
    try:
        write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(2)}, {})
        with replacing_folder(tmp_path / "folder") as made:
            write_tensors(made / "t.safetensors", {"a": torch.zeros(2)}, {})
    finally:
        os.umask(old)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_file_in_a_folder_s_place(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        with pytest.raises(DeltaspaceError, match=r"a\.json"):
            write_json(path, {})
    with pytest.raises(DeltaspaceError, match="a file is there"):
        save_to(tmp_path / "file")
    assert tree(tmp_path) == {"file": b"x"}


def save_to(folder, text="new"):
    with exporting(folder, "a checkpoint") as made:
        (made / text).write_text(text)
        (made / "README.md").write_text("card")


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def swaps(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(atomic, "_exchanged", lambda first, second: False)


def test_an_export_replaces_an_earlier_one_whole(tmp_path, swaps):
    save_to(tmp_path / "out", "old")
    save_to(tmp_path / "out", "new")
    assert sorted(tree(tmp_path)) == ["out", "out/README.md", "out/new"]
    (tmp_path / "empty").mkdir()
    save_to(tmp_path / "empty")


@pytest.mark.parametrize("stranger", ["notes.txt", "old/deep/file", ".git/HEAD"])
def test_an_export_leaves_what_no_export_wrote(tmp_path, stranger):
    save_to(tmp_path / "out", "first")
    (tmp_path / "out" / stranger).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / stranger).write_text("precious")
    before = tree(tmp_path)
    with pytest.raises(DeltaspaceError, match=stranger):
        save_to(tmp_path / "out")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), ValueError("bug")])
def test_an_export_that_fails_leaves_the_old_one(tmp_path, error):
    save_to(tmp_path / "out", "old")
    before = tree(tmp_path)
    with pytest.raises((type(error), DeltaspaceError)), exporting(tmp_path / "out", "a checkpoint") as made:
        (made / "half").write_text("half")
        raise error
    assert tree(tmp_path) == before


def test_a_swap_that_fails_half_way_is_taken_back(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchanged", lambda first, second: False)
    save_to(tmp_path / "out", "old")
    before = tree(tmp_path)
    with pytest.raises(DeltaspaceError), replacing_folder(tmp_path / "out") as made:
        (made / "new").touch()
        shutil.rmtree(made)
    assert tree(tmp_path) == before


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    dead = tmp_path / ".x.0123456789abcdef.tmp"
    dead.mkdir()
    (dead / "half").touch()
    (tmp_path / ".mine.tmp").mkdir()
    with replacing(tmp_path / "a") as living:
        write_text(tmp_path / "b", "b")
        assert living.exists() and not dead.exists()
    assert sorted(tree(tmp_path)) == [".mine.tmp", "a", "b"]


@pytest.fixture
def small(tmp_path):
    """A real disk of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode:
        pytest.skip("only root mounts a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_old_file(small):
    write_text(small / "t", "old")
    write_text(small / "t.safetensors", "old")
    for write in (
        lambda: write_tensors(small / "t.safetensors", {"a": torch.zeros(1_000_000)}, {}),
        lambda: write_text(small / "t", "x" * 3_000_000),
        lambda: save_large(small / "out"),
    ):
        with pytest.raises(DeltaspaceError, match="no space left"):
            write()
    assert tree(small) == {"t": b"old", "t.safetensors": b"old"}


@pytest.fixture
def short(tmp_path):
    """A folder in which no file may have more than 1 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_of_files_leaves_the_old_one(short):
    write_text(short / "t", "old")
    write_text(short / "t.safetensors", "old")
    for write in (
        lambda: write_tensors(short / "t.safetensors", {"a": torch.zeros(1_000_000)}, {}),
        lambda: write_text(short / "t", "x" * 3_000_000),
        lambda: save_large(short / "out"),
    ):
        with pytest.raises(DeltaspaceError, match="files may not be that large here"):
            write()
    assert tree(short) == {"t": b"old", "t.safetensors": b"old"}


def as_nobody(do):
    """What a function says, or raises as its message, in a process that has no rights."""
    if os.geteuid() != 0:
        return told(do)
    out, into = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(into, told(do).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


NOBODY = 65534


def told(do):
    try:
        return f"done: {do()}"
    except DeltaspaceError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"failed: {error!r}"


@pytest.fixture
def open_path(tmp_path):
    """A folder that everybody can reach; pytest's own are their user's alone."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


READERS = {
    "JSON": (read_json, "file"),
    "tensors": (read_metadata, "file"),
    "a checksum": (file_digest, "file"),
    "a recipe": (load_recipe, "file"),
    "a sweep": (load_sweep, "file"),
    "a task": (lambda path: read_examples(path, Columns()), "file.jsonl"),
    "a model's configuration": (lambda path: check_config(path.parent), "config.json"),
    "a model's weights": (lambda path: weight_files(path.parent), "model.safetensors"),
    "an output": (lambda path: check_output(path, ".png"), "file"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read(open_path, name):
    read, file = READERS[name]
    path = open_path / file
    path.write_text("{}")
    path.chmod(0)
    said = as_nobody(lambda: read(path))
    assert said.startswith("refused: ") and str(path) in said and "ermission denied" in said


WRITERS = {
    "a file": lambda folder: write_text(folder / "new", "x"),
    "a file in its place": lambda folder: write_text(folder / "old", "x"),
    "tensors": lambda folder: write_tensors(folder / "t.safetensors", {"a": torch.zeros(2)}, {}),
    "an export": lambda folder: save_to(folder / "out"),
    "a folder below": lambda folder: write_text(folder / "a" / "b" / "new", "x"),
    "a study": lambda folder: Folder(folder / "study").locked().__enter__(),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_may_not_be_written(open_path, name):
    folder = open_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("precious")
    folder.chmod(0o555)
    said = as_nobody(lambda: WRITERS[name](folder))
    folder.chmod(0o755)
    assert said.startswith("refused: ") and str(folder) in said and "ermission denied" in said
    assert tree(folder) == {"old": b"precious"}


LISTERS = {
    "a stage's artefacts": lambda folder: list(Folder(folder.parent).files(folder.name)),
    "a study": lambda folder: Folder(folder.parent).check_free(),
    "an earlier export": lambda folder: check_export(folder.parent, "a checkpoint"),
    "a file inside": lambda folder: read_json(folder / "x.json"),
}


@pytest.mark.parametrize("name", LISTERS)
def test_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one(open_path, name):
    folder = open_path / "part" / "stage"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    (folder.parent / "recipe.yaml").touch()
    (folder.parent / "runs.json").touch()
    if name == "an earlier export":
        (folder.parent / "README.md").write_text("<!-- deltaspace wrote: recipe.yaml, runs.json -->")
    (folder / "x.json").write_text("{}")
    folder.chmod(0)
    said = as_nobody(lambda: LISTERS[name](folder))
    folder.chmod(0o755)
    assert said.startswith("refused: ") and str(folder) in said and "ermission denied" in said


def test_a_system_that_denies_is_no_mistake_of_ours(monkeypatch, capsys):
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "/some/where")

    monkeypatch.setattr("deltaspace.cli.application.app", deny)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "/some/where cannot be read or written" in capsys.readouterr().err


def test_a_large_study_is_walked_once_before_a_run(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / ".lock").touch()
    for left in (tmp_path / ".x.0123456789abcdef.tmp", tmp_path / "independent" / "lora" / ".x.0123456789abcdef.tmp"):
        left.mkdir(parents=True)
        (left / "half").touch()
    walked, real = [], os.walk
    monkeypatch.setattr(os, "walk", lambda top, **rest: (walked.append(top), real(top, **rest))[1])
    with Folder(tmp_path).locked():
        assert not list(tmp_path.rglob("*.tmp"))
    assert walked == [tmp_path]


def save_large(folder):
    from safetensors.torch import save_file

    with exporting(folder, "a checkpoint") as made:
        save_file({"a": torch.zeros(1_000_000)}, made / "large.safetensors")


OUTPUTS = ["recipe.yaml", "runs.json", "subspace/3/0.safetensors"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_page_takes_the_place_of_a_page_only(study, tmp_path, name):
    shutil.copytree(study, tmp_path / "study")
    with pytest.raises(DeltaspaceError, match="a file of another kind is there"):
        write_report(tmp_path / "study", tmp_path / "study" / name)
    with pytest.raises(DeltaspaceError, match="a device is there"):
        write_report(study, Path("/dev/null"))
    assert (tmp_path / "study" / name).read_bytes() == (study / name).read_bytes()


def test_a_figure_takes_the_place_of_a_figure_only(study, tmp_path):
    drawn = draw("scores", study)
    save_figure(drawn, tmp_path / "a.png")
    save_figure(drawn, tmp_path / "a.png")
    (tmp_path / "b.png").write_text("precious")
    with pytest.raises(DeltaspaceError, match="another kind"):
        save_figure(drawn, tmp_path / "b.png")


@pytest.mark.parametrize("name", ["config.json", "notes.txt", "recipe.yaml"])
def test_a_run_does_not_settle_among_others_files(study, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(DeltaspaceError, match=f"{name} is there"):
        run_study(load_recipe(study / "recipe.yaml"), tmp_path)
    assert tree(tmp_path) == {name: b"precious"}


def test_a_sweep_does_not_settle_in_a_study(study, tmp_path):
    (tmp_path / "sweep.yaml").write_text(f"recipe: {study / 'recipe.yaml'}\ngrids: {{dim: [2]}}\n")
    for out in (study, tmp_path):
        before = tree(out)
        with pytest.raises(DeltaspaceError, match="is not a sweep"):
            run_sweep(*load_sweep(tmp_path / "sweep.yaml"), out)
        assert tree(out) == before


def test_links_in_a_study_are_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(DeltaspaceError, match="cannot be written"), Folder(tmp_path / "study").locked():
        pass
    (tmp_path / "study" / ".lock").unlink()
    (tmp_path / "study" / ".running").symlink_to(tmp_path)
    with pytest.raises(DeltaspaceError, match="is a link"), Folder(tmp_path / "study").locked():
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_subspace_s_files_belong_together(study, tmp_path):
    subspace = read_subspace(study)
    save_subspace(subspace, tmp_path / "a")
    save_subspace(read_subspace(study, seed=1), tmp_path / "b")
    assert load_subspace(tmp_path / "a").dim == 3
    shutil.copy(tmp_path / "b" / "vectors.safetensors", tmp_path / "a" / "vectors.safetensors")
    with pytest.raises(DeltaspaceError, match=r"vectors\.safetensors is not what"):
        load_subspace(tmp_path / "a")
    (tmp_path / "b" / "vectors.safetensors").unlink()
    with pytest.raises(DeltaspaceError, match=r"vectors\.safetensors is missing"):
        load_subspace(tmp_path / "b")
    assert read_tensors(study / "subspace/3/0.safetensors")


def test_writing_a_file_touches_nothing_in_the_folders_below(tmp_path):
    """Whose these are nobody knows: an output may go to a home folder. A study's own are cleared by its runs."""
    below = tmp_path / "others" / ".x.0123456789abcdef.tmp"
    below.mkdir(parents=True)
    (below / "x").touch()
    write_text(tmp_path / "page", "")
    assert (below / "x").exists()


def test_a_recipe_whose_tasks_lie_in_a_loop_of_links(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "recipe.yaml").write_text(recipe("tasks: {folder: loop, source: [one], unseen: [two]}"))
    with pytest.raises(DeltaspaceError, match=r"task folder .*loop/one is missing"):
        check_recipe(load_recipe(tmp_path / "recipe.yaml"))
