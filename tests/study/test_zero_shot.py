"""Zero-shot scores: worked out once for deltas that start as exact no-ops, and the same as one by one."""

from __future__ import annotations

import json

import pytest
import torch

from deltaspace.deltas import attach
from deltaspace.study import load_recipe, read_scores, run_study
from deltaspace.study.folder import Folder
from deltaspace.study.resources import Resources
from deltaspace.study.stages import zero_shot
from tests.tiny import tiny_task, write_example


@pytest.mark.parametrize(("name", "settings"), [("adapter", {"bottleneck": 2}), ("lora", {"r": 2}), ("finetune", {})])
def test_a_no_op_is_seen_on_every_architecture_and_one_number_ends_it(backbone, name, settings):
    task, attached = tiny_task(), attach(name, backbone, **settings)
    assert zero_shot.starts_as_plm(attached, task)
    generator = torch.Generator().manual_seed(0)
    attached.initial = attached.initial + 0.1 * torch.randn(attached.initial.shape, generator=generator)
    assert not zero_shot.starts_as_plm(attached, task)


def test_a_prefix_is_none(backbone):
    assert not zero_shot.starts_as_plm(attach("prefix", backbone, tokens=2), tiny_task())


def test_the_plm_is_scored_once_for_all_no_ops_and_seeds_and_rows_are_those_of_one_by_one(tmp_path, monkeypatch):
    path = write_example(tmp_path)
    deltas = [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}, {"prefix": {"tokens": 2}}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "deltas": deltas, "seed": [0, 1]}))
    recipe, scored, score = load_recipe(path), [], zero_shot.score

    def counted(attached, task, vector):
        scored.append((attached.name, task.name))
        return score(attached, task, vector)

    monkeypatch.setattr(zero_shot, "score", counted)
    run_study(recipe, tmp_path / "study", until="zero_shot")
    once, each = ([(name, task) for task in ("source", "unseen")] for name in ("adapter", "prefix"))
    assert sorted(scored) == sorted(once + each * 2)
    resources = Resources(recipe, Folder(tmp_path / "other"))
    rows = read_scores(tmp_path / "study")
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        attached = resources.attached(row.delta, row.seed)
        result = score(attached, resources.tasks[row.task], attached.initial)
        assert (row.score, row.n_test) == (result.value, result.count)
