"""Approximation, optimization and transfer on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deltaspace.checkpoints import export_delta
from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.scoring import score
from deltaspace.solutions import train
from deltaspace.storage import write_tensors
from deltaspace.subspace import (
    PROJECTIONS,
    Approximation,
    Optimization,
    Source,
    Subspace,
    Vectors,
    approximate,
    optimize,
    transfer,
)
from deltaspace.subspace.fitting.displacements import InFiles, InMemory
from deltaspace.subspace.methods.dense import DenseAutoencoder
from deltaspace.subspace.objectives.interpolated import joint_loss
from deltaspace.training import Training
from tests.tiny import tiny_backbone, tiny_task

SETTINGS = {"adapter": {"bottleneck": 3}, "lora": {"r": 2}, "prefix": {"tokens": 4}}
SHORT = Training(steps=40, lr=0.03, evaluate_every=10, batch_size=8)


@pytest.fixture(scope="module")
def made():
    """Three deltas on one tiny BERT, their solutions of a task, and the subspace of these."""
    plm, task = tiny_backbone("bert"), tiny_task()
    deltas = [attach(name, plm, **settings) for name, settings in SETTINGS.items()]
    solutions = [train(delta, task, SHORT) for delta in deltas]
    subspace = approximate(
        deltas,
        solutions,
        [task],
        dim=4,
        projection="dense",
        settings=Approximation(steps=20, lr=1e-3, evaluate_every=5, batch_size=8),
    )
    return deltas, solutions, task, subspace


def test_a_subspace_has_dimensions_and_names_that_differ(made):
    deltas, solutions, task, _ = made
    for chosen, tasks, dim, message in (
        (deltas, [task], 0, r"at least one dimension(.|\n)*dim=0"),
        ([deltas[1], deltas[1]], [task], 4, "two deltas are called 'lora'"),
        (deltas, [task, task], 4, "two tasks are called 'tiny'"),
        ([], [task], 4, "no deltas"),
    ):
        with pytest.raises(DeltaspaceError, match=message):
            approximate(chosen, solutions, tasks, dim=dim)


def batch_of(delta, task):
    family = delta.backbone.family
    return family.collate(family.encode(task, task.train[:8]))


def parts_of(deltas, *tasks):
    """Trainables, source solutions and a batch for any number of tasks."""
    generator = torch.Generator().manual_seed(5)
    displacements = [torch.randn(len(tasks), delta.layout.size, generator=generator) for delta in deltas]
    sources = [Source(InMemory(d), delta.layout.sizes) for d, delta in zip(displacements, deltas, strict=True)]
    trainables = DenseAutoencoder().trainables(sources, 4, 0)
    family = deltas[0].backbone.family
    return trainables, sources, family.collate([item for task in tasks for item in family.encode(task, task.train[:4])])


def test_the_joint_loss_is_its_formula(made):
    deltas, _, task, _ = made
    trainables, sources, batch = parts_of(deltas, task)
    weights, alpha = torch.tensor([[0.2, 0.3, 0.5]]), 0.7
    dense = [t.fixed(s.displacements) for t, s in zip(trainables, sources, strict=True)]
    displacements_of = [s.displacements.take([0]) for s in sources]
    codes = [p.encode(d)[0] for p, d in zip(dense, displacements_of, strict=True)]
    for projection, displacement, code in zip(dense, displacements_of, codes, strict=True):
        inner = torch.tanh(displacement / projection.units @ projection.first.T / displacement.shape[1])
        torch.testing.assert_close(code, (inner @ projection.second.T)[0])
    mixed = sum(w * code for w, code in zip(weights[0], codes, strict=True))
    expected = 0.0
    for delta, projection, displacement, code in zip(deltas, dense, displacements_of, codes, strict=True):
        expected += delta.loss(delta.initial + projection.units * (mixed @ projection.up), batch)
        expected += alpha * (displacement[0] - projection.units * (code @ projection.up)).norm() / projection.scale
    found = sum(joint_loss(deltas, sources, trainables, [0], weights, alpha, batch))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_batch_of_several_tasks_is_the_mean_of_each(made):
    deltas, _, task, _ = made
    tasks = [task, tiny_task("second", size=20), tiny_task("third", size=16)]
    trainables, sources, batch = parts_of(deltas, *tasks)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    family = deltas[0].backbone.family
    together = sum(joint_loss(deltas, sources, trainables, [0, 1, 2], weights, 0.5, batch))
    alone = []
    for row, other in enumerate(tasks):
        own = family.collate(family.encode(other, other.train[:4]))
        alone.append(sum(joint_loss(deltas, sources, trainables, [row], weights[row : row + 1], 0.5, own)))
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_projection(made):
    deltas, _, task, _ = made
    trainables, sources, batch = parts_of(deltas, task, tiny_task("second"))
    values = [{name: tensor.clone().requires_grad_() for name, tensor in t.trained().items()} for t in trainables]
    with_values = [t.with_trained(tensors) for t, tensors in zip(trainables, values, strict=True)]
    weights = torch.full((2, 3), 1 / 3)
    for part in joint_loss(deltas, sources, with_values, [0, 1], weights, 1.0, batch):
        part.backward()
    for tensors, trainable in zip(values, with_values, strict=True):
        gradient, codes, _ = trainable.factors()["up"].joined()
        assert tensors["up"].grad is None
        reached = (tensors["anchors"].grad, tensors["second"].grad, gradient, codes)
        assert all(float(tensor.abs().max()) > 0 for tensor in reached)


def test_the_source_solutions_are_in_the_subspace(made):
    """The start of the approximation holds them exactly, so that its best on dev is at least as good as they are together."""
    deltas, solutions, task, subspace = made
    own = [score(delta, task, solution.vector, "dev").value for delta, solution in zip(deltas, solutions, strict=True)]
    found = [transfer(subspace, subspace.mean_code(delta.name), delta, task, "dev").value for delta in deltas]
    assert sum(found) >= sum(own) - 1e-6
    assert subspace.history["curve"][0][1] == pytest.approx(sum(own) / 3)


def test_optimization_tunes_d_numbers_and_keeps_the_best(made):
    deltas, _, _, subspace = made
    task = tiny_task("other", size=40)
    before = {name: entry.map.up.clone() for name, entry in subspace.entries.items()}
    for delta in deltas:
        found = optimize(subspace, delta, task, Optimization(**SHORT.model_dump()))
        assert found.vector.shape == (4,)
        curve = found.fit.curve
        assert found.fit.best.value == max(value for _, value, _ in curve) >= curve[0][1]
        kept = transfer(subspace, found.vector, delta, task, "dev")
        assert (kept.value, kept.loss) == pytest.approx((found.fit.best.value, found.fit.best.loss))
        decoded = delta.initial + subspace.entries[delta.name].map.decode(found.vector[None])[0]
        assert transfer(subspace, found.vector, delta, task) == score(delta, task, decoded)
    assert all(entry.map.up.equal(before[name]) for name, entry in subspace.entries.items())


def test_optimization_lowers_the_loss_of_a_new_task():
    """From a random point of the space, not from its start."""
    plm, task = tiny_backbone("sentence"), tiny_task()
    lora = attach("lora", plm, r=2)
    solution = train(lora, task, SHORT)
    subspace = approximate(
        [lora], [solution], [task], dim=2, projection="dense", settings=Approximation(steps=1, lr=1e-6, evaluate_every=1)
    )
    subspace.codes.zero_()
    found = optimize(subspace, lora, task, Optimization(steps=60, lr=0.1, evaluate_every=20))
    assert found.fit.best.loss < found.fit.curve[0][2]


def test_candidates_side_by_side_are_candidates_alone(made):
    """Starts and learning rates tuned in one pass end where each ends alone; the best on dev is kept."""
    deltas, _, _, subspace = made
    task = tiny_task("other", size=40)
    common = {"steps": 12, "lr": 0.05, "evaluate_every": 4, "batch_size": 4}
    for delta in deltas:
        both = Optimization(**common, starts=("mean", "zero"), factors=(0.2, 4.0))
        together = optimize(subspace, delta, task, both)
        alone = {
            (start, factor): optimize(subspace, delta, task, Optimization(**common, starts=(start,), factors=(factor,)))
            for start in both.starts
            for factor in both.factors
        }
        best = max(found.fit.best.value for found in alone.values())
        assert together.fit.best.value == pytest.approx(best)
        assert (together.start, together.factor) in alone
        same = alone[together.start, together.factor]
        torch.testing.assert_close(together.vector, same.vector, rtol=1e-2, atol=1e-3)


def test_the_nearest_source_task_is_a_start(made):
    deltas, _, task, subspace = made
    settings = Optimization(steps=1, lr=1e-6, evaluate_every=1, starts=("nearest",))
    found = optimize(subspace, deltas[0], task, settings)
    assert found.start == task.name
    torch.testing.assert_close(found.vector, subspace.codes_of(deltas[0].name)[0], rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_subspace(made):
    deltas, solutions, task, _ = made
    settings = Approximation(steps=3, lr=1e-3, evaluate_every=3, batch_size=4)
    one, two, other = (
        approximate(deltas, solutions, [task], dim=5, projection="dense", settings=settings, seed=seed) for seed in (1, 1, 2)
    )
    for name in one.entries:
        assert one.entries[name].map.up.equal(two.entries[name].map.up)
    assert one.history["curve"] == two.history["curve"] != other.history["curve"]


def test_several_source_tasks_have_codes_of_their_own():
    plm = tiny_backbone("bert")
    tasks = [tiny_task("one"), tiny_task("two", size=30)]
    deltas = [attach(name, plm, **SETTINGS[name]) for name in ("adapter", "lora")]
    solutions = [train(delta, task, SHORT) for delta in deltas for task in tasks]
    subspace = approximate(
        deltas, solutions, tasks, dim=3, projection="dense", settings=Approximation(steps=1, lr=1e-6, evaluate_every=1)
    )
    for solution in solutions:
        projection = subspace.entries[solution.delta].map
        decoded = projection.decode(projection.encode(solution.displacement[None]))[0]
        own = subspace.codes_of(solution.delta)[subspace.sources.index(solution.task)]
        torch.testing.assert_close(projection.encode(solution.displacement[None])[0], own, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(decoded, solution.displacement, rtol=1e-2, atol=1e-2 * projection.scale)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_every_projection_goes_the_whole_way(name, tmp_path):
    """Two tasks, two deltas: approximated, optimized, transferred; from files as from memory."""
    plm = tiny_backbone("bert")
    tasks = [tiny_task("one"), tiny_task("two", size=30)]
    deltas = [attach(delta, plm, **SETTINGS[delta]) for delta in ("adapter", "lora")]
    brief = Training(steps=4, lr=0.03, evaluate_every=4, batch_size=8)
    solutions = [train(delta, task, brief) for delta in deltas for task in tasks]
    files = {}
    for delta in deltas:
        own = [s for s in solutions if s.delta == delta.name]
        paths = [tmp_path / f"{s.delta}-{s.task}.safetensors" for s in own]
        for path, solution in zip(paths, own, strict=True):
            write_tensors(path, {"displacement": solution.displacement}, {})
        files[delta.name] = InFiles(paths)
    settings = Approximation(steps=3, lr=1e-2, evaluate_every=3, batch_size=4, tasks=2)
    subspace, other = (
        approximate(deltas, given, tasks, dim=2, projection=name, settings=settings) for given in (solutions, files)
    )
    assert subspace.sources == ("one", "two")
    assert subspace.codes.equal(other.codes) and subspace.codes.shape == (2, 2, 2)
    assert bool(subspace.history) == PROJECTIONS[name].trained
    unseen = tiny_task("three", size=20)
    found = optimize(subspace, deltas[0], unseen, Optimization(**brief.model_dump()))
    assert found.vector.shape == (2,)
    assert transfer(subspace, found.vector, deltas[1], unseen).count == 8


@pytest.mark.parametrize("name", ["gaussian", "fastfood"])
def test_random_projections_start_at_the_initial_vector_without_solutions(name):
    plm = tiny_backbone("bert")
    lora = attach("lora", plm, r=2)
    subspace = approximate([lora], [], [], dim=3, projection=name)
    assert subspace.decode("lora", subspace.mean_code("lora")).equal(lora.initial)
    found = optimize(subspace, lora, tiny_task(), Optimization(steps=20, lr=0.3, evaluate_every=10))
    assert found.fit.best.loss < found.fit.curve[0][2]


def test_a_subspace_moves_between_devices_unchanged(made):
    subspace = made[3]
    moved = subspace.to("cpu")
    code = torch.arange(4.0)
    assert all(moved.decode(name, code).equal(subspace.decode(name, code)) for name in subspace.entries)


def test_what_does_not_belong_is_refused(made, tmp_path):
    deltas, solutions, task, subspace = made
    with pytest.raises(DeltaspaceError, match="no solution of prefix"):
        approximate(deltas, solutions[:2], [task], dim=4)
    with pytest.raises(DeltaspaceError, match="displacements of adapter do not fit"):
        approximate(deltas, {"adapter": InMemory(torch.zeros(2, 7))}, [task], dim=4)
    with pytest.raises(DeltaspaceError, match="another model"):
        optimize(subspace, attach("lora", tiny_backbone("roberta"), r=2), task)
    with pytest.raises(DeltaspaceError, match="does not start"):
        optimize(subspace, attach("adapter", deltas[0].backbone, seed=1, bottleneck=3), task)
    with pytest.raises(DeltaspaceError, match="no such lora"):
        transfer(subspace, subspace.mean_code("lora"), attach("lora", deltas[0].backbone, r=3), task)
    with pytest.raises(DeltaspaceError, match="no delta"):
        subspace.decode("ia3", subspace.mean_code("lora"))
    path = tmp_path / "subspace.safetensors"
    subspace.save(path)
    assert (
        Subspace.load(path).decode("lora", subspace.mean_code("lora")).equal(subspace.decode("lora", subspace.mean_code("lora")))
    )


def test_paths_may_be_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lora = attach("lora", tiny_backbone("bert"), r=2)
    subspace = approximate([lora], [], [], dim=3, projection="gaussian")
    subspace.vectors.add("one", "lora", torch.ones(3))
    subspace.save("space.safetensors")
    assert Subspace.load("space.safetensors").dim == 3
    subspace.vectors.save("vectors.safetensors")
    assert torch.equal(Vectors.load("vectors.safetensors").get("one", "lora"), torch.ones(3))
    assert export_delta(lora, lora.initial, "made") == Path("made")
    assert (tmp_path / "made" / "README.md").exists()


def test_vectors_that_are_not_finite_are_told(tmp_path):
    write_tensors(
        tmp_path / "vectors.safetensors",
        {"vectors": torch.tensor([[1.0, float("nan")]])},
        {"format": "deltaspace.vectors/1", "dim": 2, "entries": [["one", "lora"]]},
    )
    with pytest.raises(DeltaspaceError, match="not finite"):
        Vectors.load(tmp_path / "vectors.safetensors")
