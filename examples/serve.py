"""Tasks of a subspace behind FastAPI. `pip install fastapi uvicorn`, then:

SUBSPACE=space uvicorn examples.serve:app
curl localhost:8000/embed -H 'Content-Type: application/json' -d '{"task": "products", "texts": ["Fits well."]}'
"""

import os

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import deltaspace as ds

subspace = ds.load_subspace(os.environ["SUBSPACE"])
backbone = ds.load_backbone(subspace.plm.name)
model = ds.SubspaceModel(subspace, backbone)
app = FastAPI()


class Texts(BaseModel):
    """Texts of one task."""

    task: str
    texts: list[str]


class Vector(BaseModel):
    """A task's intrinsic vector, and the delta that it was found through."""

    delta: str
    vector: list[float]


@app.exception_handler(ds.DeltaspaceError)
def refuse(request: Request, error: ds.DeltaspaceError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


@app.post("/embed")
def embed(asked: Texts) -> list[list[float]]:
    inputs = backbone.tokenizer(asked.texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs, task_ids=[asked.task] * len(asked.texts)).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).tolist()


@app.put("/tasks/{task}")
def add(task: str, given: Vector) -> None:
    model.add(task, given.delta, torch.tensor(given.vector))


@app.delete("/tasks/{task}")
def remove(task: str) -> None:
    model.remove(task)
