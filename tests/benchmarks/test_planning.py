"""The benchmark of planning plans what it says."""

from __future__ import annotations

from benchmarks.planning import plan


def test_a_made_up_study_is_planned(tmp_path):
    result = plan(tmp_path, wanted=100, tasks=1)
    assert 100 <= result["artefacts"] < 200
    assert not any(tmp_path.iterdir())
