"""Landscapes: scores and losses of every delta on the cells of a slice (arXiv 2210.13311, section 5.3 and its figures).

What does not change between cells is done once: examples are tokenized and collated, and since decoding is linear, a delta's
parameters at every cell are one product of coordinates with the decoded origin and directions. Where a whole sample is short,
several cells share one pass of the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Batch, Item
from deltaspace.storage import read_tensors, write_tensors
from deltaspace.landscape.refinement import Cell, filled, levels
from deltaspace.landscape.slice import Grid, Slice
from deltaspace.subspace.subspace import Subspace
from deltaspace.subspace.vectors import check_version
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Split, Task
from deltaspace.training import Progress

FORMAT = "deltaspace.landscape/1"
Precision = Literal["auto", "fp32", "bf16"]
# Padded tokens of one pass: on CPUs what keeps the activations in the cache (docs/results.md), on GPUs what keeps them busy.
_CPU_TOKENS, _GPU_TOKENS = 768, 65536
_CHECKPOINT_SECONDS = 5.0


@dataclass(eq=False)
class Landscape:
    """What every delta predicts, and its mean loss, on the cells of a slice.

    Args:
        slice: where.
        deltas: their names.
        task, split, metric: what was sampled.
        targets: of every example.
        answers: the texts that predictions are indices of.
        predictions: of every cell and example; -1 where a cell is not sampled, (deltas, *shape, examples).
        losses: NaN where a cell is not sampled, (deltas, *shape).
        tolerance: cells between cells whose scores differ by at most so many points are filled in, not sampled.
        precision: of the frozen weights' products, fp32 or bf16.
        marks: further points by name, such as a vector that the slice was not laid through: coordinates and distance from it.
        paths: the way of each delta's optimizer: coordinates of every step.
    """

    slice: Slice
    deltas: tuple[str, ...]
    task: str
    split: Split
    metric: str
    targets: list[str]
    answers: list[str]
    predictions: Int[np.ndarray, "deltas ..."]
    losses: Float[np.ndarray, "deltas ..."]
    tolerance: float = 0.0
    precision: str = "fp32"
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """How many examples each cell was scored on."""
        return len(self.targets)

    @property
    def done(self) -> Bool[np.ndarray, "deltas ..."]:
        """Which cells were sampled, (deltas, *shape)."""
        return self.predictions[..., 0] >= 0

    @property
    def sampled(self) -> float:
        """Share of the cells that were sampled; the others are filled in, or still to do."""
        return float(self.done.mean())

    @property
    def progress(self) -> float:
        """Share of the cells that are sampled or filled in; 1 when the landscape is finished."""
        return 1.0 - float(np.isnan(self.filled()).mean())

    def scores(self) -> Float[np.ndarray, "deltas ..."]:
        """The metric of every cell; NaN where it is not sampled, (deltas, *shape)."""
        metric, answers = METRICS[self.metric], self.answers
        known: dict[bytes, float] = {}
        found = np.full(self.losses.shape, np.nan)
        for place in zip(*np.nonzero(self.done), strict=True):
            row = self.predictions[place]
            key = row.tobytes()
            if key not in known:
                known[key] = metric([answers[index] for index in row], self.targets)
            found[place] = known[key]
        return found

    def filled(self, what: Literal["score", "loss"] = "score") -> Float[np.ndarray, "deltas ..."]:
        """Scores or losses with cells between equal ones interpolated, (deltas, *shape); NaN where a cell is still to do."""
        tolerance = self.tolerance if self.tolerance > 0 else -1.0
        scores = np.stack([filled(own, done, tolerance) for own, done in zip(self.scores(), self.done, strict=True)])
        if what == "score":
            return scores
        losses = np.stack([filled(own, done) for own, done in zip(self.losses, self.done, strict=True)])
        return np.where(np.isnan(scores), np.nan, losses)

    def save(self, path: Path, metadata: dict[str, Any] | None = None) -> None:
        """Write one safetensors file, atomically (docs/format.md)."""
        tensors = {"predictions": torch.from_numpy(self.predictions), "losses": torch.from_numpy(self.losses)}
        tensors |= {"origin": self.slice.origin, "directions": self.slice.directions}
        own = {name: getattr(self, name) for name in _FIELDS}
        slice_ = {
            "grids": [[grid.low, grid.high, grid.count] for grid in self.slice.grids],
            "labels": list(self.slice.labels),
            "marks": {name: list(place) for name, place in self.slice.marks.items()},
        }
        write_tensors(path, tensors, {**(metadata or {}), "format": FORMAT, "slice": slice_, **own, "deltas": list(self.deltas)})

    @classmethod
    def load(cls, path: Path) -> Landscape:
        """Read a file of `save`.

        Raises:
            DeltaspaceError: the file is missing, damaged or not a landscape.
        """
        tensors, own = read_tensors(path)
        if str(own.get("format")).split("/")[0] != FORMAT.split("/")[0]:
            raise DeltaspaceError(f"{path} is not a landscape", found=own.get("format"), expected=FORMAT)
        check_version(path, own["format"], FORMAT)
        slice_ = Slice(
            tensors["origin"],
            tensors["directions"],
            tuple(Grid(*grid) for grid in own["slice"]["grids"]),
            tuple(own["slice"]["labels"]),
            {name: tuple(place) for name, place in own["slice"]["marks"].items()},
        )
        rest = {name: own[name] for name in _FIELDS} | {"deltas": tuple(own["deltas"])}
        return cls(slice=slice_, predictions=tensors["predictions"].numpy(), losses=tensors["losses"].numpy(), **rest)


_FIELDS = ("task", "split", "metric", "targets", "answers", "deltas", "tolerance", "precision", "marks", "paths")


@torch.no_grad()
def sample(
    subspace: Subspace,
    attached: Sequence[AttachedDelta],
    task: Task,
    slice_: Slice,
    *,
    split: Split = "test",
    examples: int | None = 200,
    tolerance: float = 0.0,
    precision: Precision = "auto",
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> Landscape:
    """Score every delta on every cell of a slice: coarse first, then finer where it changes.

    Args:
        subspace: what the slice goes through.
        attached: deltas of it.
        task: what is scored.
        slice_: the cells.
        split: which examples.
        examples: take only the split's first ones; all by default None.
        tolerance: a cell between coarser cells whose scores differ by at most so many points is filled in; 0 samples every cell.
        precision: of the frozen weights' products; `auto` is bf16 where the machine multiplies it natively, else fp32.
        checkpoint: where cells are kept while this runs; a killed run goes on from there and ends with the same numbers.
        fingerprint: what the checkpoint must have been made from.
        progress: called with (cells done, cells, text).

    Raises:
        DeltaspaceError: a delta is not the subspace's, or the slice is one of another subspace.
    """
    for own in attached:
        subspace.check(own)
    if slice_.dim != subspace.dim:
        raise DeltaspaceError("the slice is of another subspace", found=f"d = {slice_.dim}", expected=f"d = {subspace.dim}")
    chosen = task.split(split)[:examples]
    family = attached[0].backbone.family
    items = family.encode(task, chosen)
    backing = _precision(precision, attached[0].backbone.device)
    landscape = Landscape(
        slice_,
        tuple(own.name for own in attached),
        task.name,
        split,
        task.metric,
        [example.target for example in chosen],
        [],
        np.full((len(attached), *slice_.shape, len(chosen)), -1, dtype=np.int32),
        np.full((len(attached), *slice_.shape), np.nan, dtype=np.float32),
        float(tolerance),
        backing,
    )
    work = _Work(landscape, checkpoint, fingerprint, progress)
    work.resume()
    samplers = [_Sampler(subspace, own, items, slice_) for own in attached]
    with ExitStack() as stack:
        if backing == "bf16":
            copies: dict[int, Tensor] = {}
            for own in attached:
                stack.enter_context(own.weights_as(torch.bfloat16, copies))
        for level in levels(slice_.shape):
            for index, sampler in enumerate(samplers):
                todo = work.todo(index, level)
                for start in range(0, len(todo), sampler.cells):
                    part = todo[start : start + sampler.cells]
                    work.keep(index, part, *sampler.evaluate(part))
    return landscape


def _precision(asked: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    if asked != "auto":
        return asked
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if native else "fp32"


class _Work:
    """Which cells are done; keeps them while the sampling runs, and tells."""

    def __init__(self, landscape: Landscape, checkpoint: Path | None, fingerprint: str, progress: Progress | None) -> None:
        self.landscape = landscape
        self._checkpoint, self._fingerprint, self._progress = checkpoint, fingerprint, progress
        self._answers: dict[str, int] = {}
        self._saved = time.perf_counter()
        self._scores = np.full(landscape.losses.shape, np.nan)
        self._total = landscape.losses.size

    def resume(self) -> None:
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        tensors, own = read_tensors(self._checkpoint)
        if own["fingerprint"] != self._fingerprint or own["precision"] != self.landscape.precision:
            return  # of another landscape, or begun on a machine that multiplies otherwise
        self.landscape.predictions[:] = tensors["predictions"].numpy()
        self.landscape.losses[:] = tensors["losses"].numpy()
        self.landscape.answers[:] = own["answers"]
        self._answers = {text: index for index, text in enumerate(own["answers"])}
        self._scores = self.landscape.scores()

    def todo(self, delta: int, level: list[tuple[Cell, dict[Cell, float]]]) -> list[Cell]:
        """The cells of a level that are not done and cannot be filled in."""
        landscape = self.landscape
        done = landscape.done[delta]
        known = filled(self._scores[delta], done)
        found = []
        for cell, parents in level:
            around = [known[parent] for parent in parents]
            flat = landscape.tolerance > 0 and around and max(around) - min(around) <= landscape.tolerance
            if flat and not done[cell]:
                self._total -= 1
            elif not done[cell]:
                found.append(cell)
        if not found:
            self._tell(delta)
        return found

    def keep(self, delta: int, cells: list[Cell], predictions: list[list[str]], losses: list[float]) -> None:
        metric = METRICS[self.landscape.metric]
        for cell, texts, loss in zip(cells, predictions, losses, strict=True):
            for text in texts:
                if text not in self._answers:
                    self._answers[text] = len(self._answers)
                    self.landscape.answers.append(text)
            place = (delta, *cell)
            self.landscape.predictions[place] = [self._answers[text] for text in texts]
            self.landscape.losses[place] = loss
            self._scores[place] = metric(texts, self.landscape.targets)
        if self._checkpoint is not None and time.perf_counter() - self._saved > _CHECKPOINT_SECONDS:
            self._save(self._checkpoint)
        self._tell(delta)

    def _tell(self, delta: int) -> None:
        if self._progress is not None:
            best = np.nanmax(self._scores[delta])
            text = f"{self.landscape.deltas[delta]}, best so far {best:.1f}"
            self._progress(int(self.landscape.done.sum()), self._total, text)

    def _save(self, path: Path) -> None:
        own = self.landscape
        tensors = {"predictions": torch.from_numpy(own.predictions), "losses": torch.from_numpy(own.losses)}
        write_tensors(path, tensors, {"fingerprint": self._fingerprint, "precision": own.precision, "answers": own.answers})
        self._saved = time.perf_counter()


class _Sampler:
    """One delta on any cells of a slice: the examples collated once, the slice decoded once.

    `cells` of them share a pass: several where all examples fit into one, as many as fill it.
    """

    def __init__(self, subspace: Subspace, attached: AttachedDelta, items: Sequence[Item], slice_: Slice) -> None:
        self._attached, self._slice, self._count = attached, slice_, len(items)
        device = attached.backbone.device
        tokens = _CPU_TOKENS if device.type == "cpu" else _GPU_TOKENS
        order = sorted(range(len(items)), key=lambda index: len(items[index]["input_ids"]))
        parts = _passes(order, [len(item["input_ids"]) for item in items], tokens)
        room = tokens // (len(items) * max(len(item["input_ids"]) for item in items))
        self.cells = max(1, room) if len(parts) == 1 and attached.delta.grouped else 1
        family = attached.backbone.family
        self._order = [index for part in parts for index in part]
        self._batches: list[Batch] = [family.collate([items[index] for index in part] * self.cells) for part in parts]
        base = subspace.decode(attached.name, slice_.origin.to(device))
        # up is linear: the plane is spanned by the decoded directions.
        zero = subspace.decode(attached.name, torch.zeros_like(slice_.origin, device=device))
        ways = subspace.decode(attached.name, slice_.directions.to(device)) - zero
        self._base, self._ways = base, ways
        self._coordinates = slice_.coordinates().reshape(*slice_.shape, -1).to(device)

    def evaluate(self, cells: list[Cell]) -> tuple[list[list[str]], list[float]]:
        """Predictions and mean loss of some cells, at most `self.cells` of them."""
        places = torch.stack([self._coordinates[cell] for cell in cells])
        vectors = torch.addmm(self._base, places, self._ways)
        if len(cells) < self.cells:  # the last pass: the batch is for more cells
            vectors = torch.cat([vectors, vectors[-1:].expand(self.cells - len(cells), -1)])
        vector = vectors if self.cells > 1 else vectors[0]
        predictions: list[list[str]] = [[""] * self._count for _ in cells]
        losses: list[list[Tensor]] = [[] for _ in cells]
        place = 0
        for batch in self._batches:
            found = self._attached.evaluate(vector, batch)
            size = len(found.predictions) // self.cells
            for number in range(len(cells)):
                texts = found.predictions[number * size : (number + 1) * size]
                for index, text in zip(self._order[place : place + size], texts, strict=True):
                    predictions[number][index] = text
                losses[number].append(found.losses[number * size : (number + 1) * size])
            place += size
        return predictions, [float(torch.cat(own).double().mean()) for own in losses]


def _passes(order: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Examples, shortest first, in passes of at most so many padded tokens (at least one example each)."""
    parts: list[list[int]] = []
    for index in order:
        if parts and (len(parts[-1]) + 1) * lengths[index] <= tokens:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts
