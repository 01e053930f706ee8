"""What comes first, and what follows from what ended: without processes."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.study import Artefact, MadeFrom, Serial, load_recipe, run_study
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.schedule import Schedule
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.history import logged
from deltaspace.study.observer import Observer
from deltaspace.study.resources import Resources
from deltaspace.study.stages.independent import INDEPENDENT
from deltaspace.study.stages.zero_shot import ZERO_SHOT
from deltaspace.study.stages.zero_shot import Key as SolutionKey
from tests.tiny import write_example, write_task

ONE = Threads(1, 1)


class Number(NamedTuple):
    number: int


class MadeUpGraph(Graph):
    """Artefacts by number, each made from some of those before it."""

    def __init__(self, parts):
        self.artefacts = [Artefact("zero_shot", Number(index), f"zero_shot/{index}.json") for index in range(len(parts))]
        self.parts = dict(zip(self.artefacts, parts, strict=True))
        self.todo = [(artefact, "missing") for artefact in self.artefacts]

    def made_from(self, artefact):
        return MadeFrom(tuple(self.artefacts[part] for part in self.parts[artefact]))

    def fingerprint(self, artefact):
        return artefact.path


class MadeUpCosts(Costs):
    def __init__(self, seconds):
        self._seconds, self._left, self._measured, self._sizes = seconds, {}, {}, {}

    def seconds(self, artefact):
        return self._seconds[artefact.key.number]


@st.composite
def graphs(draw):
    parts = [
        draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set() for index in range(draw(st.integers(1, 12)))
    ]
    return MadeUpGraph(parts), draw(st.lists(st.floats(0.1, 10), min_size=len(parts), max_size=len(parts)))


@given(graphs(), st.integers(1, 4), st.sets(st.integers(0, 11)), st.integers(0, 9))
def test_everything_is_made_once_behind_what_it_is_made_from_but_for_what_fails(drawn, workers, failing, seed):
    graph, seconds = drawn
    schedule, random_ = Schedule(graph, graph.todo, MadeUpCosts(seconds), ONE), random.Random(seed)
    running, done, lost = [], set(), set()
    while schedule.left:
        while len(running) < workers and schedule.first() is not None:
            running.append(schedule.begin())
            assert {part.key.number for part in graph.made_from(running[-1].artefact).artefacts} <= done
        job = running.pop(random_.randrange(len(running)))
        number = job.artefact.key.number
        assert number not in done | lost
        if number in failing:
            without = {artefact.key.number for artefact in schedule.failed(job)}
            assert not without & (done | lost)
            lost |= {number} | without
        else:
            schedule.done(job, 1.0)
            done.add(number)
    assert schedule.first() is None and not running
    numbers = set(range(len(graph.artefacts)))
    expected = set()
    for number in sorted(numbers):
        if number in failing or graph.parts[graph.artefacts[number]] & expected:
            expected.add(number)
    assert lost == expected and done == numbers - expected


def test_what_has_the_longest_chain_behind_it_comes_first():
    # 0 is short, but 2 waits for it, which is long; 1 is longer than 0 alone; 3 is the shortest.
    graph = MadeUpGraph([set(), set(), {0}, set()])
    schedule = Schedule(graph, graph.todo, MadeUpCosts([1.0, 5.0, 6.0, 0.5]), ONE)
    assert [schedule.begin().artefact.key.number for _ in range(3)] == [0, 1, 3]


def test_nothing_waits_for_a_whole_stage():
    graph = MadeUpGraph([set(), set(), {0}])
    schedule = Schedule(graph, graph.todo, MadeUpCosts([1.0, 9.0, 1.0]), ONE)
    long, short = schedule.begin(), schedule.begin()
    assert (long.artefact.key.number, short.artefact.key.number) == (1, 0)
    schedule.done(short, 1.0)
    assert schedule.begin().artefact.key.number == 2


def test_what_is_begun_again_counts_its_tries():
    graph = MadeUpGraph([set()])
    schedule = Schedule(graph, graph.todo, MadeUpCosts([1.0]), ONE)
    job = schedule.begin()
    schedule.again(job)
    assert schedule.begin() is job and job.tries == 2 and schedule.left == 1


def solution(task, seed=0):
    return INDEPENDENT.artefact(SolutionKey("lora", task, seed))


def test_costs_are_learned_by_stage_and_length_of_texts(tmp_path):
    recipe = load_recipe(write_example(tmp_path))
    texts = (tmp_path / "unseen" / "train.jsonl").read_text().replace("the film was", "the film was " * 4)
    (tmp_path / "unseen" / "train.jsonl").write_text(texts)
    costs = Costs(Resources(recipe, Folder(tmp_path / "study")))
    assert costs.size(solution("unseen")) > 1.5 * costs.size(solution("source"))
    todo = [solution("source"), solution("unseen"), ZERO_SHOT.artefact(SolutionKey("lora", "source", 0))]
    costs.expect(todo)
    # Nothing is known: all stages take alike.
    assert costs.seconds(todo[0]) == costs.seconds(todo[2])
    assert costs.learn(todo[0], 10.0)
    ratio = costs.size(todo[1]) / costs.size(todo[0])
    assert abs(costs.seconds(todo[1]) - 10 * ratio) < 1e-9
    assert abs(costs.left() - costs.seconds(todo[1]) - costs.seconds(todo[2])) < 1e-9
    costs.learn(todo[1], None)
    costs.learn(todo[2], None)
    assert costs.left() == 0.0


def test_costs_of_earlier_runs_are_known(tmp_path):
    recipe, out = load_recipe(write_example(tmp_path)), tmp_path / "study"
    out.mkdir()
    with logged(out, None, Observer()) as log:
        for task in ("source", "unseen"):
            log.start(solution(task), "missing")
            log.end(solution(task))
        log.seconds["independent solutions"] = 8.0
    resources = Resources(recipe, Folder(out))
    assert Costs(resources).seconds(solution("source")) == 4.0 * Costs(resources).size(solution("source"))
    (out / "runs.json").write_text("[")
    assert Costs(resources).seconds(solution("source")) == Costs(resources).size(solution("source"))


def test_threads_are_those_of_the_stage(tmp_path):
    write_task(tmp_path / "task")
    graph = MadeUpGraph([set()])
    [job] = [Schedule(graph, graph.todo, MadeUpCosts([1.0]), Threads(2, 7)).begin()]
    assert job.threads == 2
    assert Threads(2, 7).of(Artefact("subspace", Number(0), "subspace/0")) == 7


def test_one_process_has_the_threads_of_each_stage_and_puts_them_back(tmp_path, monkeypatch):
    recipe, counts = load_recipe(write_example(tmp_path)), [torch.get_num_threads()]
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    by_stage = {}

    class Watch(Observer):
        def start(self, artefact, reason):
            by_stage.setdefault(artefact.stage, set()).add(counts[-1])

    run_study(recipe, tmp_path / "study", until="subspace", observer=Watch(), engine=Serial(3, 5))
    assert by_stage == {"zero_shot": {3}, "independent": {3}, "subspace": {5}}
    assert counts[-1] == counts[0]
    with pytest.raises(DeltaspaceError, match="threads: 0 cannot be"):
        Serial(0)
