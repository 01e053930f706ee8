"""The arithmetic of a large study: operations are counted, and grow as the study does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.costs import GPUS, Plan, hours, passes, stages
from benchmarks.models import TINY, make_t5

from deltaspace.deltas import attach

PLAN = Plan(sources=6, unseen=2, train=100, joint=200, vector=50)


@pytest.fixture(scope="module")
def measured():
    plm = make_t5(TINY)
    return {name: passes(attach(name, plm, **settings), TINY) for name, settings in {"lora": {"r": 2}, "finetune": {}}.items()}


def test_a_backward_pass_costs_more_and_that_of_all_parameters_the_most(measured):
    for counts in measured.values():
        assert counts.forward < counts.both < 4 * counts.forward
    assert measured["lora"].both < measured["finetune"].both
    larger = make_t5(replace(TINY, layers=2))
    assert passes(attach("lora", larger, r=2), TINY).forward > measured["lora"].forward


def test_operations_and_files_grow_with_the_study(measured):
    once, twice = (stages(replace(PLAN, seeds=seeds), measured, 1.0) for seeds in (1, 2))
    for first, second in zip(once[1:], twice[1:], strict=True):
        assert second.operations == pytest.approx(2 * first.operations) and second.artefacts == 2 * first.artefacts
        assert second.gigabytes == pytest.approx(2 * first.gigabytes)
    assert once[0] == twice[0]
    independent = once[1]
    assert independent.gigabytes == pytest.approx(4e-9 * 8 * sum(counts.parameters for counts in measured.values()))


def test_more_gpus_never_take_longer_and_never_less_than_the_longest_artefact(measured):
    for stage in stages(PLAN, measured, 0.5):
        taken = [hours(stage, gpus, 1.0) for gpus in GPUS]
        assert taken == sorted(taken, reverse=True)
        assert taken[-1] >= stage.longest / 1e12 / 3600
