"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# Shapes and types are checked at every call while tests run, where tensors are handled by shape.
CHECKED = ["deltaspace.deltas.layout", "deltaspace.solutions", "deltaspace.subspace", "deltaspace.training"]
install_import_hook(CHECKED, "beartype.beartype")

from tests.tiny import ARCHITECTURES, tiny_backbone  # noqa: E402

torch.set_num_threads(2)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch, request):
    """No test writes into the user's cache, but for the slow ones, which share the download of the demo's sentences."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "slow" not in request.keywords:
        monkeypatch.setenv("DELTASPACE_CACHE", str(tmp_path_factory.mktemp("cache")))


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
