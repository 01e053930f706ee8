"""The benchmarks of engines measure what they say, on a tiny model."""

from __future__ import annotations

from benchmarks.engines import empty_stage, engine_overhead, write_recipe

from deltaspace.study import STAGES, load_recipe
from tests.tiny import save_tiny


def test_the_overhead_is_that_of_one_worker(tmp_path):
    save_tiny("bert", tmp_path / "model")
    [result] = engine_overhead(4, str(tmp_path / "model"))
    assert result["name"] == "engine-overhead" and set(result["each"]) == {"serial", "worker"}
    assert abs(result["value"] - (result["each"]["worker"] - result["each"]["serial"])) < 1e-6


def test_the_stage_goes_again_and_the_recipe_is_one(tmp_path):
    with empty_stage(tmp_path / "packages"):
        assert "empty" in STAGES
    assert "empty" not in STAGES
    recipe = load_recipe(write_recipe(tmp_path, "demo", 3, 1))
    assert recipe.source_tasks == ["task-0", "task-1", "task-2"]
