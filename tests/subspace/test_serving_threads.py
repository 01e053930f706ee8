"""A subspace in one process: tasks come and go while threads use it, answers are right, and nothing grows."""

from __future__ import annotations

import gc
import random
import resource
import threading
import time

import pytest
import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace import SubspaceModel
from tests.subspace.test_growing_and_serving import made

IDS = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 9, 10, 2]])
LONG_SECONDS = 600


def vector_of(number, dim):
    return 2 * torch.randn(dim, generator=torch.Generator().manual_seed(number))


def test_tasks_come_and_go():
    plm, _, subspace = made()
    model = SubspaceModel(subspace, plm)
    before = list(subspace.vectors)
    model.set_task("x", delta="lora")
    with torch.no_grad():
        first = model(input_ids=IDS, task_ids=["x", "x"]).logits
        model.add("x", "lora", torch.ones(3))
        second = model(input_ids=IDS, task_ids=["x", "x"]).logits
        assert not first.allclose(second)
        # What is set stays.
        assert model(input_ids=IDS).logits.allclose(first, atol=1e-6)
        model.add("new", "adapter", torch.ones(3))
        assert model.tasks == ["x", "y", "z", "new", "a", "b", "c"] and list(subspace.vectors) == before
        as_adapter = model(input_ids=IDS, task_ids=["new", "y"], delta="adapter").logits
        assert model.delta == "lora" and not as_adapter.allclose(model(input_ids=IDS, task_ids=["new", "y"]).logits)
    model.remove("new")
    model.add("x", "adapter", torch.zeros(3))
    model.remove("x", "adapter")
    assert model.subspace.vectors.deltas_of("x") == ["lora"]
    for call in (
        lambda: model(input_ids=IDS, task_ids=["new", "x"]),
        lambda: model.remove("new"),
        lambda: model.remove("a"),
        lambda: model.remove("x", "adapter"),
        lambda: model.add("x", "nothing", torch.ones(3)),
        lambda: model.add("x", "lora", torch.ones(4)),
        lambda: model(input_ids=IDS, delta="adapter"),
    ):
        with pytest.raises(DeltaspaceError):
            call()


@pytest.mark.parametrize("room", [0, 1, 2, 5])
def test_what_is_kept_is_bounded(room):
    plm, attached, subspace = made()
    size = 4 * attached[1].layout.size
    model = SubspaceModel(subspace, plm, kept_bytes=room * size)
    model.set_task("x", delta="lora")
    for names in (["x", "y"], ["z", "a"], ["b", "c"], ["x", "z"]):
        with torch.no_grad():
            together = model(input_ids=IDS, task_ids=names).logits
        assert len(model._decoded) <= max(room, 1) and model._bytes() <= max(room, 1) * size
        for row, name in enumerate(names):
            vector = subspace.decode("lora", subspace.vector(name, subspace.through(name, "lora")))
            alone = attached[1].call(vector, lambda m, row=row: m(input_ids=IDS[row : row + 1]).logits)
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def load(model, reference, threads, go_on):
    """Threads that ask for mixed tasks, change tasks of their own, and compare every answer; answers, and what was wrong."""
    wrong, answers = [], [0] * threads
    dim = model.subspace.dim

    def work(me):
        draws, version = random.Random(me), 0
        try:
            while go_on(answers[me]):
                version += 1
                name, number = f"thread-{me}-{version % 3}", me * 10_000 + version % 7
                model.add(name, "lora", vector_of(number, dim))
                common = draws.randrange(4)
                with torch.no_grad():
                    delta = draws.choice(["lora", "adapter"])
                    got = model(input_ids=IDS, task_ids=[name, f"common-{common}"], delta=delta).logits
                for row, key in enumerate((number, common)):
                    if not torch.allclose(got[row], reference(delta, key, row), rtol=1e-3, atol=1e-4):
                        wrong.append((me, version, delta, row))
                if version % 3 == 0:
                    model.remove(name)
                answers[me] += 1
        except Exception as error:
            wrong.append(error)

    running = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(answers), wrong


def prepared(threads):
    plm, attached, subspace = made()
    model = SubspaceModel(subspace, plm, kept_bytes=6 * 4 * attached[1].layout.size)
    for number in range(4):
        model.add(f"common-{number}", "lora", vector_of(number, subspace.dim))
    expected = {}
    for delta, index in (("adapter", 0), ("lora", 1)):
        for number in [*range(4), *(me * 10_000 + version for me in range(threads) for version in range(7))]:
            vector = subspace.decode(delta, vector_of(number, subspace.dim))
            expected[delta, number] = attached[index].call(vector, lambda m: m(input_ids=IDS).logits)
    return model, lambda delta, number, row: expected[delta, number][row]


def test_threads_get_right_answers_while_tasks_come_and_go():
    model, reference = prepared(4)
    answers, wrong = load(model, reference, 4, lambda done: done < 15)
    assert wrong == [] and answers == 60
    assert len(model._decoded) <= 6 and len(model.tasks) <= 10 + 4 * 3


@pytest.mark.long
@pytest.mark.timeout(0)
def test_ten_minutes_of_load_do_not_grow():
    model, reference = prepared(4)
    sizes = []
    for _ in range(2):
        end = time.monotonic() + LONG_SECONDS / 2
        _, wrong = load(model, reference, 4, lambda done, end=end: time.monotonic() < end)
        assert wrong == []
        gc.collect()
        sizes.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(model._decoded), len(model.tasks)))
    assert sizes[1][0] < 1.02 * sizes[0][0] and sizes[1][1:] <= (6, 22)
