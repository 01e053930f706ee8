"""One vector, the same function in every delta: agreement falls, reads no labels, resumes exactly; maps with offsets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.errors import DeltaspaceError
from deltaspace.solutions import Solution
from deltaspace.subspace import Approximation, Source, approximate, find_projection
from deltaspace.subspace.agreement import SMALL, decisions, decisions_of, disagreement_at, drawn_states, probe_seed
from deltaspace.subspace.codes import draw_codes
from deltaspace.subspace.fitting import Problem
from deltaspace.subspace.fitting.displacements import Centered, InMemory
from deltaspace.subspace.objectives.aligned import Aligned, Weights
from deltaspace.training import Batches, Fit, Resume, Score, loop
from tests.tiny import tiny_backbone, tiny_task

SETTINGS = {"adapter": {"bottleneck": 3}, "lora": {"r": 2}, "prefix": {"tokens": 4}, "ia3": {"peft": "IA3"}, "finetune": {}}
THREE = ("adapter", "lora", "prefix")
# All weights are moved at once.
SCALES = {"finetune": 0.05}
NO_FIT = Fit([], Score(0.0, 0.0, 0), 0, 0, 0.0)
SHORT = Approximation(steps=40, lr=0.02, evaluate_every=10, batch_size=4, tasks=2, alpha=0.0)


def problem(architecture="sentence", names=THREE):
    plm = tiny_backbone(architecture)
    attached = [attach("peft" if name == "ia3" else name, plm, name=name, **SETTINGS[name]) for name in names]
    tasks = [tiny_task("one"), tiny_task("two", size=30), tiny_task("three", size=20)]
    generator = torch.Generator().manual_seed(3)
    solutions = []
    for delta in attached:
        for task in tasks:
            # Large enough that tiny PLMs change what they decide by.
            displacement = SCALES.get(delta.name, 1.0) * torch.randn(delta.layout.size, generator=generator)
            solutions.append(Solution(delta.name, task.name, delta.initial + displacement, displacement, NO_FIT))
    return attached, solutions, tasks


def aligned(attached, solutions, tasks, settings=SHORT, resume=None, **options):
    method = find_projection("aligned", **{"responding": 12, **options})
    rest = {} if resume is None else {"resume": resume}
    return approximate(attached, solutions, tasks, dim=4, projection=method, settings=settings, **rest)


def apart(subspace, attached, tasks):
    """Mean disagreement of the pairs around the source codes, on test sentences."""
    family = attached[0].backbone.family
    items = family.encode(tasks[0], tasks[0].test)
    vectors = draw_codes(subspace.shared_codes(), 8, 1.0, (0.0, 0.5), 7)
    return disagreement_at(attached, lambda index, v: subspace.decode(attached[index].name, v), vectors, items)


@pytest.mark.parametrize("architecture", ["sentence", "bert", "t5", "gpt2"])
@pytest.mark.parametrize("leader", ["consensus", "turns", "lora"])
def test_training_makes_the_deltas_agree(architecture, leader):
    attached, solutions, tasks = problem(architecture)
    options = {"leader": leader, "task": 0.0, "start": "svd"}
    before = aligned(attached, solutions, tasks, SHORT.model_copy(update={"steps": 1, "lr": 1e-9}), **options)
    after = aligned(attached, solutions, tasks, **options)
    assert set(apart(after, attached, tasks).pairs) == {("adapter", "lora"), ("adapter", "prefix"), ("lora", "prefix")}
    assert apart(after, attached, tasks).mean < apart(before, attached, tasks).mean
    assert after.entries["prefix"].offset is not None
    curve = after.history["curve"]
    assert max(score for _, score, _ in curve) > curve[0][1]


@pytest.mark.parametrize(("architecture", "start"), [("sentence", "responses"), ("t5", "svd")])
def test_fine_tuning_and_methods_of_peft_take_part(architecture, start):
    """Neither can have several vectors in one pass; fine-tuning is decoded as mixtures of its source displacements."""
    attached, solutions, tasks = problem(architecture, ("lora", "ia3", "finetune"))
    options = {"task": 0.0, "start": start}
    before = aligned(attached, solutions, tasks, SHORT.model_copy(update={"steps": 1, "lr": 1e-9}), **options)
    after = aligned(attached, solutions, tasks, **options)
    first, last = apart(before, attached, tasks), apart(after, attached, tasks)
    assert set(last.pairs) == {("lora", "ia3"), ("lora", "finetune"), ("ia3", "finetune")}
    assert last.mean < first.mean
    # Each learns: nothing is left as it began.
    vector = torch.ones(4)
    for delta in attached:
        assert not torch.equal(before.decode(delta.name, vector), after.decode(delta.name, vector))


def test_disagreement_is_0_for_one_function_and_2_for_opposite_ones():
    attached, _, tasks = problem("sentence")
    lora = attached[1]
    items = lora.backbone.family.encode(tasks[0], tasks[0].test)
    moved = torch.randn(3, lora.layout.size, generator=torch.Generator().manual_seed(0))

    def told(*parameters):
        count = len(parameters[0])
        [value] = disagreement_at([lora, lora], lambda index, _: parameters[index], torch.zeros(count, 4), items).pairs.values()
        return value

    with torch.no_grad():
        change = lora.decision(moved[:1] + lora.initial, lora.backbone.family.collate(items))
        change = (change - lora.decision(lora.initial, lora.backbone.family.collate(items))).square().sum(1).mean()
    assert change > 10 * SMALL
    assert told(lora.initial + moved, lora.initial + moved) == 0
    # One does nothing: what the other changes is all that they differ in.
    assert 0.8 < told(lora.initial + moved, lora.initial.expand(3, -1)) < 1
    other = torch.randn(3, lora.layout.size, generator=torch.Generator().manual_seed(1))
    assert 0.2 < told(lora.initial + moved, lora.initial + other) < 2
    # Every vector counts alike: that two of three agree is seen, however much the third changes.
    mixed = torch.cat([moved[:2], other[2:]])
    alone = told(lora.initial + moved[2:], lora.initial + mixed[2:])
    assert told(lora.initial + moved, lora.initial + mixed) == pytest.approx(alone / 3, rel=1e-4)


@pytest.mark.parametrize("leader", ["consensus", "lora"])
def test_what_agreement_adds_has_the_gradient_of_what_it_says(leader):
    """The parts are backpropagated delta by delta; together they are the gradient of one formula, written out here."""
    attached, _, tasks = problem("sentence")
    family = attached[0].backbone.family
    items = family.encode(tasks[0], tasks[0].train)
    weights = Weights(0.0, 0.0, 2.0, 3.0, 0.0, 1, leader, vectors=3, texts=5, reach=1.0, near=0.3, far=1.0)
    given = Problem(attached, [], tasks, 4, SHORT, 0)
    objective = Aligned(given, weights, items)
    generator = torch.Generator().manual_seed(1)
    decoded = [(delta.initial + torch.randn(3, delta.layout.size, generator=generator)).requires_grad_() for delta in attached]
    drawn = torch.randn(3, 4, generator=generator)
    parts = torch.stack(objective._apart(drawn, decoded, 0))
    parts.sum().backward()
    ours = [parameters.grad.clone() for parameters in decoded]
    texts = Batches(items, 5, probe_seed(0, "texts")).at(0)
    f = [
        torch.stack([delta.decision(row, family.collate(texts)) for row in rows])
        for delta, rows in zip(attached, decoded, strict=True)
    ]
    target = torch.stack(f).mean(0) if leader == "consensus" else f[1].detach()
    change = target - attached[0].decision(attached[0].initial, family.collate(texts)).detach()
    centered = change - change.mean(1, keepdim=True)
    size = centered.square().sum(2).sum(1) / 4 + SMALL
    cosines = [torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=2) for rows in (centered.flatten(1), drawn)]
    unlike = sum((cosines[0] - cosines[1])[i, j] ** 2 for i, j in itertools.permutations(range(3), 2)) / 6
    whole = 2.0 * sum(((out - target).square().sum(2).mean(1) / size).mean() for out in f) + 3.0 * unlike
    torch.testing.assert_close(parts.sum(), whole, rtol=1e-3, atol=1e-4)
    for rows, gradient in zip(decoded, ours, strict=True):
        [expected] = torch.autograd.grad(whole, [rows], retain_graph=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)


def test_agreement_is_not_had_by_doing_nothing():
    attached, solutions, tasks = problem("sentence")
    family = attached[0].backbone.family
    items = family.encode(tasks[0], tasks[0].test)
    options = {"task": 0.0, "distillation": 0.0, "start": "svd", "far": 0.5}
    changes = []
    for settings in (SHORT.model_copy(update={"steps": 1, "lr": 1e-9}), SHORT):
        subspace = aligned(attached, solutions, tasks, settings, **options)
        vectors = draw_codes(subspace.shared_codes(), 8, 1.0, (0.0, 0.5), 7)
        moved = [decisions(delta, subspace.decode(delta.name, vectors), items) for delta in attached]
        untuned = decisions(attached[0], attached[0].initial.unsqueeze(0), items)
        changed = torch.stack(moved).mean(0) - untuned
        changes.append(float((changed - changed.mean(1, keepdim=True)).square().sum(2).mean()))
    assert changes[1] > 0.7 * changes[0]


def kept(subspace, attached, solutions, tasks):
    """How far all deltas decide at the source tasks' codes otherwise than the source solutions do on average."""
    family, total = attached[0].backbone.family, 0.0
    for index, task in enumerate(tasks):
        items = family.encode(task, task.train[:8])
        moved = [s.displacement for s in solutions if s.task == task.name]
        goal = torch.cat([decisions(a, (a.initial + d)[None], items) for a, d in zip(attached, moved, strict=True)]).mean(0)
        code = subspace.shared_codes()[index]
        for delta in attached:
            total += float((decisions(delta, subspace.decode(delta.name, code)[None], items)[0] - goal).square().sum(1).mean())
    return total


@pytest.mark.parametrize("architecture", ["sentence", "t5"])
def test_distillation_keeps_what_the_source_solutions_do(architecture):
    attached, solutions, tasks = problem(architecture)
    with_it, without = (aligned(attached, solutions, tasks, task=0.0, distillation=weight) for weight in (3.0, 0.0))
    assert kept(with_it, attached, solutions, tasks) < 0.8 * kept(without, attached, solutions, tasks)


@pytest.mark.parametrize("method", ["dense", "aligned"])
@pytest.mark.parametrize("sizes", [(1, 30, 20), (1, 2, 3)])
def test_source_tasks_with_fewer_examples_than_their_part_of_a_batch_take_them_again(method, sizes):
    attached, solutions, tasks = problem("sentence")
    tasks = [replace(task, train=task.train[:size]) for task, size in zip(tasks, sizes, strict=True)]
    settings = SHORT.model_copy(update={"steps": 4, "batch_size": 6, "tasks": 3})
    made = approximate(attached, solutions, tasks, dim=4, projection=method, settings=settings)
    assert all(bool(made.decode(delta.name, made.mean_code(delta.name)).isfinite().all()) for delta in attached)


def test_texts_of_the_user_take_the_place_of_the_tasks_inputs(tmp_path):
    attached, solutions, tasks = problem("sentence")
    options = {"task": 0.0}
    inputs = [example.input for task in zip(*(task.train[:20] for task in tasks), strict=True) for example in task]
    probe = tmp_path / "texts.txt"
    probe.write_text("\n".join(inputs) + "\n")
    short = [replace(task, train=task.train[:20]) for task in tasks]
    vector = torch.ones(4)

    def decoded(**more):
        subspace = aligned(attached, solutions, short, **options, **more)
        return torch.cat([subspace.decode(delta.name, vector) for delta in attached])

    # The same texts in the same order: text i is of task i modulo the number of tasks.
    assert torch.equal(decoded(probe=str(probe)), decoded())
    probe.write_text("a good film\nthe plot was dull\nfine\n")
    assert not torch.equal(decoded(probe=str(probe)), decoded())
    with pytest.raises(DeltaspaceError, match="is missing"):
        aligned(attached, solutions, short, probe=str(tmp_path / "nope"))


def test_agreement_reads_no_labels():
    attached, solutions, tasks = problem("sentence")
    other = {"happy": "sad", "sad": "happy"}

    def turned(examples):
        return tuple(replace(example, target=other[example.target]) for example in examples)

    wrong = [replace(task, train=turned(task.train), dev=turned(task.dev), test=turned(task.test)) for task in tasks]
    brief = SHORT.model_copy(update={"steps": 6})
    first, second = (aligned(attached, solutions, given, brief, task=0.0) for given in (tasks, wrong))
    third = aligned(attached, solutions, wrong, brief, task=1.0)
    for name in THREE:
        assert first.entries[name].map.up.equal(second.entries[name].map.up)
        assert first.entries[name].offset.equal(second.entries[name].offset)
    assert not first.entries["lora"].map.up.equal(third.entries["lora"].map.up)


@pytest.mark.parametrize("names", [("adapter", "lora"), ("ia3", "finetune")])
def test_a_killed_training_ends_with_the_same_numbers(names, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    given = problem("bert", names)
    brief = SHORT.model_copy(update={"steps": 8, "evaluate_every": 2})
    whole = aligned(*given, brief)

    def killed(step, steps, text):
        if step == 5:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        aligned(*given, brief, Resume(state, "a", killed))
    resumed = aligned(*given, brief, Resume(state, "a"))
    for name in names:
        vectors = torch.eye(4)
        assert resumed.decode(name, vectors).equal(whole.decode(name, vectors))
        assert resumed.entries[name].offset.equal(whole.entries[name].offset)
    assert resumed.history["curve"] == whole.history["curve"]


@pytest.mark.parametrize("architecture", ["bert", "sentence", "llama", "t5"])
def test_changes_are_those_of_the_model_itself_whichever_delta_is_first(architecture):
    """A prefix changes the model at its initial vector already; LoRA begins as nothing, and is then the same to the last bit."""
    plm, task = tiny_backbone(architecture), tiny_task(size=20)
    items = plm.family.encode(task, task.test)
    lora, prefix = attach("lora", plm, r=2), attach("prefix", plm)
    alone = decisions_of(plm.model, plm, items)
    assert decisions(lora, lora.initial.unsqueeze(0), items)[0].equal(alone)
    assert not decisions(prefix, prefix.initial.unsqueeze(0), items)[0].equal(alone)
    generator = torch.Generator().manual_seed(0)
    moved = {d.name: d.initial + 0.3 * torch.randn(2, d.layout.size, generator=generator) for d in (lora, prefix)}

    def apart(*attached):
        [value] = disagreement_at(attached, lambda i, _: moved[attached[i].name], torch.zeros(2, 1), items).pairs.values()
        return value

    assert apart(lora, prefix) == pytest.approx(apart(prefix, lora), rel=1e-5)


def test_without_any_weight_only_the_start_is_left():
    attached, solutions, tasks = problem("bert", ("adapter", "lora"))
    subspace = aligned(attached, solutions, tasks, start="svd", task=0.0, distillation=0.0, agreement=0.0)
    assert subspace.history == {}
    # The directions and the mean together hold the three solutions.
    for solution in solutions:
        code = subspace.shared_codes()[subspace.sources.index(solution.task)]
        decoded = subspace.decode(solution.delta, code)
        torch.testing.assert_close(decoded, solution.vector, rtol=1e-2, atol=1e-2)


def test_a_leader_that_is_none_is_refused():
    attached, solutions, tasks = problem("bert", ("adapter", "lora"))
    with pytest.raises(DeltaspaceError, match=r"no leader 'ia3'(.|\n)*consensus, turns, adapter, lora"):
        aligned(attached, solutions, tasks, leader="ia3")


def test_mixtures_are_dense_maps_with_the_same_offset():
    rows = torch.randn(3, 60, generator=torch.Generator().manual_seed(0))
    blocks = [20, 5, 15, 20]
    method = find_projection("aligned")
    [dense], [large] = (method.raw([Source(InMemory(rows), blocks, wide)], 4, 0) for wide in (False, True))
    codes = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(large.decode(codes), dense.decode(codes), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(large.displacement_at_zero(), rows.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense.displacement_at_zero(), rows.mean(0), rtol=1e-4, atol=1e-5)
    mixing = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        large.transformed(mixing).decode(codes), dense.transformed(mixing).decode(codes), rtol=1e-3, atol=1e-3
    )
    moved = dense.decode(codes) - dense.displacement_at_zero()
    torch.testing.assert_close(dense.fixed(InMemory(rows)).decode(codes), moved, rtol=1e-3, atol=1e-4)
    centered = Centered(InMemory(rows))
    torch.testing.assert_close(centered.take([0, 2]), (rows - rows.mean(0))[[0, 2]])
    assert centered.shape == (3, 60) and centered.columns(3, 9).shape == (3, 6)


def test_random_directions_are_as_long_as_the_sources_and_start_elsewhere():
    rows = torch.randn(3, 60, generator=torch.Generator().manual_seed(0))
    source = Source(InMemory(rows), [20, 5, 15, 20], False)
    [ours], [drawn], [other] = (
        find_projection("aligned", directions=directions).raw([source], 4, seed)
        for directions, seed in (("sources", 0), ("random", 0), ("random", 1))
    )
    assert torch.equal(ours.task_codes, drawn.task_codes) and torch.equal(ours.up[-1], drawn.up[-1])
    torch.testing.assert_close(drawn.up.norm(dim=1), ours.up.norm(dim=1))
    cosines = torch.nn.functional.cosine_similarity(ours.up[:-1], drawn.up[:-1])
    assert cosines[ours.up[:-1].norm(dim=1) > 0].abs().max() < 0.9
    assert not torch.equal(drawn.up, other.up)
    with pytest.raises(DeltaspaceError, match="random directions of a delta of the PLM's size"):
        find_projection("aligned", directions="random").raw([Source(InMemory(rows), [60], True)], 4, 0)


def test_random_directions_of_fine_tuning_are_refused():
    attached, solutions, tasks = problem("bert", ("lora", "finetune"))
    with pytest.raises(DeltaspaceError, match=r"random directions of a delta of the PLM's size(.|\n)*found: finetune"):
        aligned(attached, solutions, tasks, directions="random")


def test_random_directions_can_be_trained_to_agree():
    attached, solutions, tasks = problem("sentence")
    options = {"task": 0.0, "start": "svd", "directions": "random"}
    before = aligned(attached, solutions, tasks, SHORT.model_copy(update={"steps": 1, "lr": 1e-9}), **options)
    after = aligned(attached, solutions, tasks, **options)
    assert apart(after, attached, tasks).mean < apart(before, attached, tasks).mean


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_decisions_are_those_of_each_text_alone_whatever_its_length(name):
    attached = attach(name, tiny_backbone("sentence"), **SETTINGS[name])
    family, task = attached.backbone.family, tiny_task("one", size=20)
    inputs = [f"{example.input} {'fine ' * (index % 7)}".strip() for index, example in enumerate(task.train)]
    items = family.encode(task, [replace(example, input=text) for example, text in zip(task.train, inputs, strict=True)])
    assert len({len(item.input_ids) for item in items}) > 3 and len(items) > 16
    generator = torch.Generator().manual_seed(0)
    rows = attached.initial + 0.1 * torch.randn(3, attached.layout.size, generator=generator)
    together = decisions(attached, rows, items)
    with torch.no_grad():
        alone = torch.stack([torch.cat([attached.decision(row, family.collate([item])) for item in items]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["t5", "gpt2"])
def test_deltas_are_compared_behind_what_is_written_too(architecture):
    attached, _, tasks = problem(architecture)
    plm, written = attached[0].backbone, replace(tasks[0], kind="generation", labels={})
    items = plm.family.encode(tasks[0], tasks[0].train) + plm.family.encode(written, written.train)
    assert drawn_states(plm, items, 0, 1) == items
    states = drawn_states(plm, items, 6, 1)
    assert [state.begun for state in states] == [state.begun for state in drawn_states(plm, items, 6, 1)]
    assert [state.begun for state in states] != [state.begun for state in drawn_states(plm, items, 6, 2)]
    goes_on = plm.family.written(plm.model, items, 6)
    for state, item in zip(states[len(tasks[0].train) :], goes_on[len(tasks[0].train) :], strict=True):
        assert state.input_ids == item.input_ids and state.begun == item.target_ids[: len(state.begun)]
    assert {len(state.begun) for state in states} > {0, 1}


@pytest.mark.parametrize("architecture", ["sentence", "gpt2"])
def test_what_is_written_is_trained_on_where_there_is_any(architecture):
    attached, solutions, tasks = problem(architecture)
    tasks = [replace(task, kind="generation", labels={}) for task in tasks] if architecture == "gpt2" else tasks
    few = SHORT.model_copy(update={"steps": 4})
    plain, continued = (aligned(attached, solutions, tasks, few, continued=count) for count in (0, 6))
    same = torch.equal(plain.decode("lora", torch.ones(4)), continued.decode("lora", torch.ones(4)))
    assert same == (architecture == "sentence")


def test_no_written_label_changes_a_continued_training():
    attached, solutions, tasks = problem("gpt2")
    other = {"happy": "sad", "sad": "happy"}
    few = SHORT.model_copy(update={"steps": 4})
    made = []
    for turned in (False, True):
        each = [
            replace(
                task,
                kind="generation",
                labels={},
                **{
                    split: tuple(replace(e, target=other[e.target] if turned else e.target) for e in task.split(split))
                    for split in ("train", "dev")
                },
            )
            for task in tasks
        ]
        subspace = aligned(attached, solutions, each, few, continued=6, task=0.0, distillation=0.0)
        made.append(subspace.decode("lora", torch.ones(4)))
    assert torch.equal(*made)


def test_which_delta_comes_first_changes_nothing():
    """What a vector changes is told from the PLM itself: a prefix does something from its first value on."""
    attached, _, tasks = problem("sentence")
    items = attached[0].backbone.family.encode(tasks[0], tasks[0].train)
    weights = Weights(0.0, 0.0, 2.0, 3.0, 0.0, 1, "consensus", vectors=3, texts=5, reach=1.0, near=0.3, far=1.0)
    generator = torch.Generator().manual_seed(1)
    decoded = [delta.initial + torch.randn(3, delta.layout.size, generator=generator) for delta in attached]
    drawn = torch.randn(3, 4, generator=generator)
    told = [
        torch.stack(Aligned(Problem(deltas, [], tasks, 4, SHORT, 0), weights, items)._apart(drawn, parameters, 0))
        for deltas, parameters in ((attached, decoded), (attached[::-1], decoded[::-1]))
    ]
    torch.testing.assert_close(told[0], told[1].flip(0))


def test_a_setting_that_came_later_leaves_subspaces_valid_that_were_made_without_it():
    assert "continued" not in find_projection("aligned").deciding()
    assert find_projection("aligned", continued=3).deciding()["continued"] == 3
    assert find_projection("aligned", far=2.0).deciding()["far"] == 2.0
