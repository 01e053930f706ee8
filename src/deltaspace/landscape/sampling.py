"""Sampling a landscape.

What does not change between cells is done once: examples are tokenized and collated, and since decoding is linear, a delta's
parameters at every cell are one product of coordinates with the decoded origin and directions. Where a whole sample is short,
several cells share one pass of the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Batch, Item
from deltaspace.landscape.landscape import Landscape, pack_texts, unpack_texts
from deltaspace.landscape.refinement import Cell, filled, levels
from deltaspace.landscape.slice import Slice
from deltaspace.precision import AskedPrecision, precision_on
from deltaspace.settings import Settings
from deltaspace.storage import write_tensors
from deltaspace.subspace.subspace import Subspace
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Task
from deltaspace.training import NO_RESUME, Resume
from deltaspace.training.optimizer import fitting

# Padded tokens of one pass: on CPUs what keeps the activations in the cache (docs/results.md), on GPUs what keeps them busy.
_CPU_TOKENS, _GPU_TOKENS = 768, 65536
# Seconds between two saved states of a running sampling.
_SAVE_SECONDS = 5.0


class Sampling(Settings):
    """How the cells of a slice are scored."""

    split: Literal["test", "dev"] = Field(default="test", description="which examples")
    examples: int | None = Field(default=200, ge=1, description="so many of them, from the first on; all where it is null")
    tolerance: float = Field(
        default=0.0,
        ge=0,
        description="cells between coarser cells whose scores differ by at most this are filled in; 0 samples all",
    )
    precision: AskedPrecision = Field(default="auto", description="of products: fp32, bf16, or bf16 where the machine has it")


@torch.no_grad()
def sample(
    subspace: Subspace,
    attached: Sequence[AttachedDelta],
    task: Task,
    slice_: Slice,
    sampling: Sampling | None = None,
    *,
    resume: Resume = NO_RESUME,
) -> Landscape:
    """Score every delta on every cell of a slice: coarse first, then finer where it changes.

    Args:
        subspace: what the slice goes through.
        attached: deltas of it.
        task: what is scored.
        slice_: the cells.
        sampling: which examples, how exactly; `Sampling()` by default.
        resume: a killed sampling goes on from its state and ends with the same numbers; told are cells done and cells.

    Raises:
        DeltaspaceError: a delta is not the subspace's, or the slice is one of another subspace.
    """
    sampling = sampling or Sampling()
    for delta in attached:
        subspace.check(delta)
    if slice_.dim != subspace.dim:
        raise DeltaspaceError("the slice is of another subspace", found=f"d = {slice_.dim}", expected=f"d = {subspace.dim}")
    backbone = attached[0].backbone
    examples = task.split(sampling.split)[: sampling.examples]
    items = backbone.family.encode(task, examples)
    landscape = Landscape(
        slice_,
        deltas=tuple(delta.name for delta in attached),
        task=task.name,
        split=sampling.split,
        metric=task.metric,
        targets=[example.target for example in examples],
        answers=[],
        predictions=np.full((len(attached), *slice_.shape, len(examples)), -1, dtype=np.int32),
        losses=np.full((len(attached), *slice_.shape), np.nan, dtype=np.float32),
        tolerance=sampling.tolerance,
        precision=precision_on(backbone.device, sampling.precision, gradients=False),
    )
    cells = _Cells(landscape, resume)
    samplers = [_Sampler(subspace, delta, items, slice_) for delta in attached]
    with backbone.products.of(landscape.precision):
        for level in levels(slice_.shape):
            for index, sampler in enumerate(samplers):
                todo = cells.todo(index, level)
                for start in range(0, len(todo), sampler.cells):
                    part = todo[start : start + sampler.cells]
                    cells.keep(index, part, *sampler.evaluate(part))
    return landscape


class _Cells:
    """Which cells of a landscape are done, kept while the sampling runs.

    Args:
        landscape: filled in place; cells of a resume state of the same fingerprint are taken up.
        resume: where the state is kept, and whom to tell.
    """

    def __init__(self, landscape: Landscape, resume: Resume) -> None:
        self.landscape = landscape
        self._resume = resume
        self._metric = METRICS.find(landscape.metric)
        self._answers: dict[str, int] = {}
        self._scores = np.full(landscape.losses.shape, np.nan)
        self._total = landscape.losses.size
        resume.load(self._load)
        self._saved = time.perf_counter()

    def todo(self, delta: int, level: list[tuple[Cell, dict[Cell, float]]]) -> list[Cell]:
        """The cells of a level that are not done and cannot be filled in."""
        tolerance = self.landscape.tolerance
        done = self.landscape.done[delta]
        known = filled(self._scores[delta], done)
        todo = []
        for cell, parents in level:
            around = [known[parent] for parent in parents]
            flat = tolerance > 0 and around and max(around) - min(around) <= tolerance
            if flat and not done[cell]:
                self._total -= 1
            elif not done[cell]:
                todo.append(cell)
        if not todo:
            self._tell(delta)
        return todo

    def keep(self, delta: int, cells: list[Cell], predictions: list[list[str]], losses: list[float]) -> None:
        """Take in what a delta gives on some cells."""
        for cell, texts, loss in zip(cells, predictions, losses, strict=True):
            for text in texts:
                if text not in self._answers:
                    self._answers[text] = len(self._answers)
                    self.landscape.answers.append(text)
            index = (delta, *cell)
            self.landscape.predictions[index] = [self._answers[text] for text in texts]
            self.landscape.losses[index] = loss
            self._scores[index] = self._metric.score(texts, self.landscape.targets)
        if self._resume.state is not None and time.perf_counter() - self._saved > _SAVE_SECONDS:
            self._save(self._resume.state)
        self._tell(delta)

    def _tell(self, delta: int) -> None:
        if self._resume.progress is not None:
            text = f"{self.landscape.deltas[delta]}, best so far {np.nanmax(self._scores[delta]):.1f}"
            self._resume.tell(int(self.landscape.done.sum()), self._total, text)

    def _save(self, path: Path) -> None:
        landscape = self.landscape
        tensors = {
            "predictions": torch.from_numpy(landscape.predictions),
            "losses": torch.from_numpy(landscape.losses),
            "answers": pack_texts(landscape.answers),
        }
        write_tensors(path, tensors, {"fingerprint": self._resume.fingerprint, "precision": landscape.precision})
        self._saved = time.perf_counter()

    def _load(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Take up what `_save` wrote: all of it, or nothing where it does not fit."""
        landscape = self.landscape
        if metadata["precision"] != landscape.precision:
            raise ValueError(f"it was begun in {metadata['precision']}, and goes on in {landscape.precision}")
        answers = unpack_texts(tensors["answers"])
        predictions = fitting(tensors, "predictions", landscape.predictions.shape).numpy()
        losses = fitting(tensors, "losses", landscape.losses.shape).numpy()
        if predictions.min() < -1 or predictions.max() >= len(answers):
            raise ValueError("its predictions are not among its answers")
        begun = replace(landscape, answers=answers, predictions=predictions, losses=losses)
        self._scores = begun.scores()
        landscape.predictions[:], landscape.losses[:], landscape.answers[:] = predictions, losses, answers
        self._answers = {text: index for index, text in enumerate(answers)}


class _Sampler:
    """One delta on any cells of a slice: the examples collated once, the slice decoded once.

    `cells` of them share a pass: several where all examples fit into one, as many as fill it.
    """

    def __init__(self, subspace: Subspace, attached: AttachedDelta, items: Sequence[Item], slice_: Slice) -> None:
        self._attached, self._count = attached, len(items)
        device = attached.backbone.device
        tokens = _CPU_TOKENS if device.type == "cpu" else _GPU_TOKENS
        lengths = [item.length for item in items]
        parts = _passes(sorted(range(len(items)), key=lengths.__getitem__), lengths, tokens)
        several = len(parts) == 1 and attached.delta.grouped
        self.cells = max(1, tokens // (len(items) * max(lengths))) if several else 1
        family = attached.backbone.family
        self._order = [index for part in parts for index in part]
        self._batches: list[Batch] = [family.collate([items[index] for index in part] * self.cells) for part in parts]
        # Decoding is linear but for a constant: the plane is spanned by the decoded directions.
        self._origin = subspace.decode(attached.name, slice_.origin.to(device))
        constant = subspace.decode(attached.name, torch.zeros_like(slice_.origin, device=device))
        self._directions = subspace.decode(attached.name, slice_.directions.to(device)) - constant
        self._coordinates = slice_.coordinates().reshape(*slice_.shape, -1).to(device)

    def evaluate(self, cells: list[Cell]) -> tuple[list[list[str]], list[float]]:
        """Predictions and mean loss of some cells, at most `self.cells` of them."""
        coordinates = torch.stack([self._coordinates[cell] for cell in cells])
        vectors = torch.addmm(self._origin, coordinates, self._directions)
        if len(cells) < self.cells:  # the last pass: the batch is for more cells
            vectors = torch.cat([vectors, vectors[-1:].expand(self.cells - len(cells), -1)])
        vector = vectors if self.cells > 1 else vectors[0]
        predictions: list[list[str]] = [[""] * self._count for _ in cells]
        losses: list[list[Tensor]] = [[] for _ in cells]
        begin = 0
        for batch in self._batches:
            evaluation = self._attached.evaluate(vector, batch)
            size = len(evaluation.predictions) // self.cells
            for number in range(len(cells)):
                texts = evaluation.predictions[number * size : (number + 1) * size]
                for index, text in zip(self._order[begin : begin + size], texts, strict=True):
                    predictions[number][index] = text
                losses[number].append(evaluation.losses[number * size : (number + 1) * size])
            begin += size
        return predictions, [float(torch.cat(parts).double().mean()) for parts in losses]


def _passes(order: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Examples, shortest first, in passes of at most so many padded tokens (at least one example each)."""
    parts: list[list[int]] = []
    for index in order:
        if parts and (len(parts[-1]) + 1) * lengths[index] <= tokens:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts
