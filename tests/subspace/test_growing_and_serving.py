"""A subspace as an artefact: its folder, its vectors, growing it, using it on its model."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.deltas import AttachedDelta, attach, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import Solution
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.subspace import (
    SubspaceModel,
    Vectors,
    approximate,
    extend_with_delta,
    extend_with_tasks,
    load_subspace,
    push_subspace,
    save_subspace,
)
from deltaspace.training import Fit, Score
from tests.tiny import tiny_backbone, tiny_task

SETTINGS = {"adapter": {"bottleneck": 3}, "lora": {"r": 2}, "prefix": {"tokens": 4}}
NO_FIT = Fit([], Score(0.0, 0.0, 0), 0, 0, 0.0)


def solutions_of(attached, tasks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for delta in attached:
        for task in tasks:
            displacement = 0.1 * torch.randn(delta.layout.size, generator=generator)
            found.append(Solution(delta.name, task, delta.initial + displacement, displacement, NO_FIT))
    return found


def made(names=("adapter", "lora", "prefix"), dim=3, tasks=("a", "b", "c"), architecture="bert", more=()):
    plm = tiny_backbone(architecture)
    attached = [attach(name, plm, **SETTINGS[name]) for name in names]
    attached += [AttachedDelta(make_delta(name, own), plm, 0, name) for name, own in more]
    sources = [tiny_task(name) for name in tasks]
    subspace = approximate(attached, solutions_of(attached, tasks), sources, dim=dim, projection="svd")
    for index, task in enumerate(("x", "y", "z")):
        subspace.vectors.add(task, "lora", torch.randn(dim, generator=torch.Generator().manual_seed(index)))
    return plm, attached, subspace


def test_a_folder_holds_the_whole_subspace(tmp_path):
    _, attached, subspace = made(more=[("ia3", {"peft": "IA3"}), ("finetune", {})])
    save_subspace(subspace, tmp_path / "s")
    again = load_subspace(tmp_path / "s")
    assert (again.plm.name, again.plm.family, again.seed) == ("bert", "masked_encoder", 0)
    assert {name: entry.settings for name, entry in again.entries.items()} == {
        name: entry.settings for name, entry in subspace.entries.items()
    }
    assert list(again.vectors) == [("x", "lora"), ("y", "lora"), ("z", "lora")]
    for delta in attached:
        vector = again.vectors.get("y")
        assert vector.equal(subspace.vectors.get("y"))
        assert again.decode(delta.name, vector).equal(subspace.decode(delta.name, vector))
    described = json.loads((tmp_path / "s" / "subspace.json").read_text())
    assert described["deltas"]["ia3"]["settings"]["peft"] == "IA3"
    assert described["deltas"]["finetune"]["map"] == "mixture"
    assert "x, y, z" in (tmp_path / "s" / "README.md").read_text()


def test_a_thousand_tasks_fit_a_megabyte(tmp_path):
    vectors = Vectors(100)
    for index in range(1000):
        vectors.add(f"task-{index:04}", "lora", torch.randn(100))
    vectors.save(tmp_path / "v.safetensors")
    assert (tmp_path / "v.safetensors").stat().st_size <= 1_000_000
    again = Vectors.load(tmp_path / "v.safetensors")
    assert all(again.entries[key].equal(vector) for key, vector in vectors.entries.items())


def test_newer_and_foreign_files_are_refused(tmp_path):
    _, _, subspace = made()
    save_subspace(subspace, tmp_path)
    for name in ("subspace", "vectors"):
        path = tmp_path / f"{name}.safetensors"
        whole = path.read_bytes()
        tensors, metadata = read_tensors(path)
        write_tensors(path, tensors, {**metadata, "format": f"deltaspace.{name}/9"})
        with pytest.raises(DeltaspaceError, match="newer deltaspace"):
            load_subspace(tmp_path)
        path.write_bytes(whole)
    (tmp_path / "subspace.safetensors").unlink()
    with pytest.raises(DeltaspaceError, match=r"no subspace\.safetensors"):
        load_subspace(tmp_path)
    with pytest.raises(DeltaspaceError, match="no folder"):
        load_subspace(tmp_path / "nothing" / "there")


def test_pushing_puts_the_folder_there(tmp_path, monkeypatch):
    import shutil

    import huggingface_hub

    made_repos = []

    class Api:
        def __init__(self, **options):
            pass

        def create_repo(self, repo, *, private, exist_ok):
            made_repos.append((repo, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / repo_id)
            return f"https://hub/{repo_id}/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    _, _, subspace = made()
    assert push_subspace(subspace, "me/space", private=True) == "https://hub/me/space/commit"
    assert made_repos == [("me/space", True, True)]
    assert load_subspace(tmp_path / "me" / "space").dim == subspace.dim


def test_pushing_without_a_network_is_one_message(monkeypatch):
    from huggingface_hub.errors import OfflineModeIsEnabled

    from deltaspace.storage import push_to_hub

    def offline(*arguments, **options):
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", offline)
    with pytest.raises(DeltaspaceError, match="cannot be put on the Hugging Face Hub"):
        push_to_hub(__import__("pathlib").Path(), "me/space")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(-2, 3))
def test_arithmetic_on_vectors(seed, dim, share):
    generator = torch.Generator().manual_seed(seed)
    vectors = Vectors(dim)
    for task in "abc":
        vectors.add(task, "lora", torch.randn(dim, generator=generator))
    a, b = vectors.get("a"), vectors.get("b")
    torch.testing.assert_close(vectors.mean(["a", "b"]), (a + b) / 2)
    torch.testing.assert_close(vectors.interpolate("a", "b", share), a + share * (b - a), rtol=1e-4, atol=1e-4)
    assert vectors.nearest(2 * a, 1)[0][1] == pytest.approx(1, abs=1e-5)
    padded = vectors.padded(2)
    assert padded.get("c").tolist() == [*vectors.get("c").tolist(), 0, 0]


def test_vectors_are_found_by_task_and_delta():
    vectors = Vectors(2)
    vectors.add("a", "lora", torch.tensor([1.0, 0.0]))
    vectors.add("a", "adapter", torch.tensor([0.0, 1.0]))
    assert vectors.get("a", "adapter").tolist() == [0, 1]
    vectors.add("c", "adapter", torch.tensor([1.0, 1.0]))
    assert vectors.get("c").tolist() == [1, 1]
    for name in ("get", "mean", "interpolate"):
        call = {"get": lambda delta: vectors.get("a", delta), "mean": lambda delta: vectors.mean(["c", "a"], delta)}.get(
            name, lambda delta: vectors.interpolate("c", "a", 0.5, delta)
        )
        with pytest.raises(DeltaspaceError, match=r"task 'a' has several vectors(.|\n)*through lora, adapter"):
            call(None)
        with pytest.raises(DeltaspaceError, match=r"no vector of the task '[ac]' found through 'prefix'(.|\n)*adapter"):
            call("prefix")
        assert call("adapter").shape == (2,)
    assert [task for task, _ in vectors.nearest(torch.tensor([1.0, 0.0]))] == ["a", "c"]
    assert [task for task, _ in vectors.nearest(torch.tensor([1.0, 0.0]), delta="adapter")] == ["c", "a"]
    with pytest.raises(DeltaspaceError, match=r"no vector found through 'prefix'(.|\n)*lora, adapter"):
        vectors.nearest(torch.zeros(2), delta="prefix")
    with pytest.raises(DeltaspaceError, match="at least one task"):
        vectors.mean([])
    with pytest.raises(DeltaspaceError, match="no vector of the task 'b'"):
        vectors.get("b")
    with pytest.raises(DeltaspaceError, match="does not fit"):
        vectors.add("a", "lora", torch.zeros(3))


@pytest.mark.parametrize("projection", ["svd", "dense", "gaussian", "fastfood"])
def test_growing_by_tasks_keeps_every_vector_and_holds_the_new_solutions(projection):
    plm = tiny_backbone("bert")
    attached = [attach(name, plm, **SETTINGS[name]) for name in SETTINGS]
    attached.append(AttachedDelta(make_delta("finetune", {"parameters": ["*.attention.*"]}), plm, 0, "finetune"))
    first, new = solutions_of(attached, "abc"), solutions_of(attached, "de", seed=1)
    from deltaspace.subspace import Approximation

    short = Approximation(steps=2, lr=1e-3, evaluate_every=2, batch_size=4)
    tasks = [tiny_task(name) for name in "abc"]
    subspace = approximate(attached, first, tasks, dim=3, projection=projection, settings=short)
    subspace.vectors.add("x", "lora", torch.randn(3))
    grown = extend_with_tasks(subspace, new)
    after = grown.subspace
    assert after.dim == 5
    assert after.sources == ("a", "b", "c", "d", "e")
    for delta in attached:
        old, padded = subspace.vectors.get("x"), after.vectors.get("x")
        assert after.decode(delta.name, padded).equal(subspace.decode(delta.name, old))
        assert after.codes[0, :3, :3].equal(subspace.codes[0])
    # One dimension for each new task: together with the old ones they hold the new solutions whole.
    assert grown.held + sum(grown.added) == pytest.approx(1, abs=1e-3)
    assert grown.added[0] >= grown.added[1] >= 0
    for solution in new:
        found = after.decode(solution.delta, after.codes_of(solution.delta)[after.sources.index(solution.task)])
        torch.testing.assert_close(found, solution.vector, rtol=1e-2, atol=1e-3)
    fewer = extend_with_tasks(subspace, new, limit=1)
    assert fewer.subspace.dim == 4
    assert fewer.added[0] == pytest.approx(grown.added[0])


def test_a_grown_subspace_is_saved_and_grows_again(tmp_path):
    _, attached, subspace = made()
    once = extend_with_tasks(subspace, solutions_of(attached, "d", 1)).subspace
    twice = extend_with_tasks(once, solutions_of(attached, "e", 2)).subspace
    save_subspace(twice, tmp_path)
    again = load_subspace(tmp_path)
    for delta in attached:
        assert again.decode(delta.name, again.vector("e", delta.name)).equal(
            twice.decode(delta.name, twice.vector("e", delta.name))
        )
        displacement = 0.1 * torch.randn(1, delta.layout.size)
        code = again.entries[delta.name].encode(displacement)
        assert code.shape == (1, 5)


def test_growing_by_a_delta_keeps_the_others():
    plm, _, subspace = made(("adapter", "lora"))
    prefix, ia3 = attach("prefix", plm, tokens=4), AttachedDelta(make_delta("ia3", {"peft": "IA3"}), plm, 0, "ia3")
    names = ["adapter", "lora"]
    for new in (prefix, ia3):
        names.append(new.name)
        own = solutions_of([new], "abc")
        grown = extend_with_delta(subspace, new, own)
        assert grown.held == pytest.approx(1, abs=1e-3)  # as many dimensions as tasks
        assert list(grown.subspace.entries) == names
        for solution in own:
            found = grown.subspace.decode(new.name, grown.subspace.vector(solution.task, new.name))
            torch.testing.assert_close(found, solution.vector, rtol=1e-2, atol=1e-3)
        x = subspace.vectors.get("x")
        assert grown.subspace.decode("lora", x).equal(subspace.decode("lora", x))
        subspace = grown.subspace


def test_what_cannot_be_taken_in_is_refused():
    plm, attached, subspace = made(("adapter", "lora"))
    with pytest.raises(DeltaspaceError, match="already"):
        extend_with_tasks(subspace, solutions_of(attached, "a"))
    with pytest.raises(DeltaspaceError, match="no solution of lora for d"):
        extend_with_tasks(subspace, solutions_of(attached[:1], "d"))
    prefix = attach("prefix", plm, tokens=4)
    with pytest.raises(DeltaspaceError, match="cannot be taken in"):
        extend_with_delta(subspace, prefix, solutions_of([prefix], "ad"))
    with pytest.raises(DeltaspaceError, match="another model"):
        extend_with_delta(subspace, attach("lora", tiny_backbone("gpt2"), r=2), [])


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
def test_a_task_is_set_in_place(architecture):
    plm, attached, subspace = made(architecture=architecture, more=[("ia3", {"peft": "IA3"}), ("finetune", {})])
    model = SubspaceModel(subspace, plm)
    inputs = {"input_ids": torch.tensor([[1, 5, 6, 7, 2]])}
    if architecture == "t5":
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :2]
    plain = plm.model(**inputs).logits
    for delta in attached:
        for task in ("x", "y", "a"):
            model.set_task(task, delta=delta.name)
            vector = subspace.vector(task, subspace.through(task, delta.name))
            expected = delta.call(subspace.decode(delta.name, vector), lambda m: m(**inputs).logits)
            assert model(**inputs).logits.equal(expected)
    model.set_task(torch.zeros(3), delta="lora")
    assert model.task is None
    assert plm.model(**inputs).logits.equal(plain)
    with pytest.raises(DeltaspaceError, match="no task 'nothing'"):
        model.set_task("nothing")
    with pytest.raises(DeltaspaceError, match="no delta 'nothing'"):
        model.set_task("x", delta="nothing")
    with pytest.raises(DeltaspaceError, match="no delta 'nothing'"):
        subspace.vector("a", "nothing")
    with pytest.raises(DeltaspaceError, match=r"'x' found through 'adapter'(.|\n)*through lora"):
        subspace.vector("x", "adapter")
    subspace.vectors.add("x", "ia3", torch.zeros(3))
    with pytest.raises(DeltaspaceError, match=r"no vector of x was found through prefix(.|\n)*through lora, ia3"):
        SubspaceModel(subspace, plm).set_task("x", delta="prefix")
    with pytest.raises(DeltaspaceError, match="another model"):
        SubspaceModel(subspace, tiny_backbone("roberta"))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "llama"])
@pytest.mark.parametrize("delta", ["adapter", "lora", "prefix"])
def test_a_batch_of_several_tasks_is_one_by_one(architecture, delta):
    plm, _, subspace = made(architecture=architecture)
    model = SubspaceModel(subspace, plm)
    ids = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 9, 2, 0], [1, 6, 6, 6, 2], [1, 9, 5, 7, 2]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    if architecture == "t5":
        inputs["decoder_input_ids"] = ids[:, :2]
    names = ["x", "a", "x", "z"]
    with torch.no_grad():
        model.set_task("y", delta=delta)
        together = model(**inputs, task_ids=names).logits
        alone = []
        for row, name in enumerate(names):
            model.set_task(name)
            alone.append(model(**{key: value[row : row + 1] for key, value in inputs.items()}).logits)
    kept = inputs["attention_mask"].bool() if architecture != "t5" else torch.ones(4, 2, dtype=torch.bool)
    torch.testing.assert_close(together[kept], torch.cat(alone)[kept], rtol=1e-4, atol=1e-5)
    assert not together[0].allclose(together[1])


def test_generating_for_several_tasks_at_once():
    plm, _, subspace = made(architecture="gpt2")
    model = SubspaceModel(subspace, plm)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    model.set_task("x", delta="lora")
    with torch.no_grad():
        together = model.generate(input_ids=ids, task_ids=["x", "y"], **options)
        for row, name in enumerate(("x", "y")):
            model.set_task(name)
            own = {**options, "attention_mask": options["attention_mask"][:1]}
            assert model.generate(input_ids=ids[row : row + 1], **own)[0].equal(together[row])


def test_a_batch_that_cannot_be_mixed_is_refused():
    plm, _, subspace = made(more=[("ia3", {"peft": "IA3"})])
    model = SubspaceModel(subspace, plm)
    ids = torch.tensor([[1, 5, 6], [1, 7, 8]])
    with pytest.raises(DeltaspaceError, match="task_ids do not fit"):
        model(input_ids=ids, task_ids=["x"])
    with pytest.raises(DeltaspaceError, match="no examples"):
        model(input_ids=ids[:0], task_ids=[])
    with pytest.raises(DeltaspaceError, match="is not finite"):
        model.add("new", "lora", torch.full((subspace.dim,), float("nan")))
    model.set_task("x", delta="ia3")
    with pytest.raises(DeltaspaceError, match="one task at a time"):
        model(input_ids=ids, task_ids=["x", "y"])
    assert model(input_ids=ids, task_ids=["x", "x"]).logits.shape[0] == 2


def test_every_method_of_peft_in_one_subspace():
    from deltaspace.subspace import Optimization, optimize, transfer
    from tests.deltas.test_peft_methods import METHODS

    own = [*((f"peft-{name}", settings) for name, settings in METHODS.items()), ("apet", {"count": 60}), ("finetune", {})]
    _, attached, subspace = made(more=own)
    assert len(subspace.entries) == 3 + len(METHODS) + 2
    task = tiny_task("new")
    short = Optimization(steps=2, lr=0.1, evaluate_every=1, batch_size=4)
    for delta in attached:
        # A point of a source task is that task's solution in every one of them.
        found = subspace.decode(delta.name, subspace.codes_of(delta.name))
        expected = torch.stack([s.vector for s in solutions_of(attached, "abc") if s.delta == delta.name])
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
        tuned = optimize(subspace, delta, task, short)
        assert tuned.vector.shape == (3,)
        assert 0 <= transfer(subspace, tuned.vector, attached[0], task).value <= 100
