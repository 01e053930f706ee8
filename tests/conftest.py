"""Fixtures of all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.checking  # noqa: F401 - the hook asks for it by name

# Shapes and types are checked at every call while tests run.
install_import_hook("deltaspace", "tests.checking.checked")

from deltaspace.study import load_recipe, run_study  # noqa: E402
from tests.browser import chromium  # noqa: E402
from tests.tiny import ARCHITECTURES, save_tiny, tiny_backbone, write_task  # noqa: E402

# Background jobs ignore Ctrl-C, those of nohup SIGHUP, and so would the commands that are tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Tiny models gain nothing by more, and beside other jobs two threads wait for each other.
torch.set_num_threads(1)
# Laws are about values: how long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that are marked long too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="asked for by --long"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch, request):
    """No test writes into the user's cache, but for the slow ones, which share the download of the demo's sentences."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "slow" not in request.keywords:
        monkeypatch.setenv("DELTASPACE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def browser():
    """Chromium, or a skipped test."""
    yield from chromium()


@pytest.fixture(scope="session", params=ARCHITECTURES)
def backbone(request):
    """A tiny random model of every supported architecture."""
    return tiny_backbone(request.param)


@pytest.fixture(scope="session")
def shared_tasks():
    """The real task data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real task data at {SHARED}")
    return SHARED / "tasks"


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A finished study of a tiny model: two source tasks, two unseen ones, three deltas, d = 3, a plane and a line. Read-only."""
    place = tmp_path_factory.mktemp("study")
    save_tiny("bert", place / "model")
    for size, name in ((16, "one"), (20, "two"), (24, "three"), (28, "four")):
        write_task(place / name, size=size)
    short = {"steps": 6, "evaluate_every": 2, "batch_size": 4, "lr": 0.02}
    recipe = {
        "model": str(place / "model"),
        "deltas": [{"adapter": {"bottleneck": 2}}, {"lora": {"r": 2}}, {"prefix": {"tokens": 2}}],
        "tasks": {"source": ["one", "two"], "unseen": ["three", "four"]},
        "dim": 3,
        "seed": [0, 1],
        "projection": {"dense": {"start": "random"}},
        "train": short,
        "approximate": short,
        "optimize": {**short, "lr": 0.1},
        "landscapes": [
            {"task": "three", "name": "plane", "grid": "-20:20:9"},
            {"task": "three", "points": ["adapter", "lora"], "name": "path", "grid": "0:1:5"},
        ],
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_study(load_recipe(place / "recipe.yaml"), place / "study")
    return place / "study"
