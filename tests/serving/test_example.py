"""The example's server answers with the space's embeddings, and takes tasks in and out while it runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi", reason="FastAPI is not installed")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from deltaspace.backbone import load_backbone
from deltaspace.deltas import attach
from deltaspace.subspace import approximate, save_subspace
from tests.tiny import save_tiny

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "serve.py"


@pytest.mark.filterwarnings("ignore")  # starlette's, of how its own test client is called
def test_the_example_serves(tmp_path, monkeypatch):
    save_tiny("sentence", tmp_path / "model")
    adapter = attach("adapter", load_backbone(str(tmp_path / "model")), bottleneck=2)
    subspace = approximate([adapter], [], [], dim=3, projection="gaussian")
    subspace.vectors.add("x", "adapter", 20 * torch.ones(3))
    save_subspace(subspace, tmp_path / "space")
    monkeypatch.setenv("SUBSPACE", str(tmp_path / "space"))
    client = TestClient(runpy.run_path(str(EXAMPLE))["app"])
    texts = ["the film was good", "the plot was bad and dull"]

    def embed(task):
        return client.post("/embed", json={"task": task, "texts": texts})

    first = torch.tensor(embed("x").json())
    plm = adapter.backbone
    inputs = plm.family.pad_inputs(plm.tokenizer(texts)["input_ids"])
    expected = adapter.call(subspace.decode("adapter", subspace.vector("x")), lambda m: plm.family.embed(m, inputs))
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5)
    assert client.put("/tasks/new", json={"delta": "adapter", "vector": [-20.0, 5.0, 0.0]}).status_code == 200
    assert not torch.tensor(embed("new").json()).allclose(first, atol=1e-3)
    assert client.delete("/tasks/new").status_code == 200
    missing = embed("new")
    assert missing.status_code == 404 and "no task 'new'" in missing.json()["detail"]
    assert client.put("/tasks/new", json={"delta": "adapter", "vector": [1.0]}).status_code == 404
