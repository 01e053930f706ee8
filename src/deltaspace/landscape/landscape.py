"""Landscapes: scores and losses of every delta on the cells of a slice (arXiv 2210.13311, section 5.3 and its figures)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape.refinement import filled
from deltaspace.landscape.slice import Grid, Slice
from deltaspace.precision import Precision
from deltaspace.storage import read_packed, write_tensors
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Split

FORMAT = "deltaspace.landscape/1"


@dataclass(frozen=True)
class Mark:
    """A point that a slice was not laid through.

    Args:
        coordinates: of the slice's point nearest to it, x first.
        distance: from that point, in the subspace.
    """

    coordinates: tuple[float, ...]
    distance: float


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
        losses: in nats; NaN where a cell is not sampled, (deltas, *shape).
        tolerance: cells between cells whose scores differ by at most so many points are filled in, not sampled.
        precision: of the frozen weights' products, fp32 or bf16.
        marks: further points by name, such as the vector that was tuned through a delta.
        trajectories: the way of each delta's optimizer: coordinates of every step.
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
    precision: Precision = "fp32"
    marks: dict[str, Mark] = field(default_factory=dict)
    trajectories: dict[str, list[list[float]]] = field(default_factory=dict)

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
        """The metric of every cell; NaN where it is not sampled, (deltas, *shape).

        Raises:
            DeltaspaceError: the metric is of another package that is not installed here.
        """
        metric, answers = METRICS.find(self.metric), self.answers
        # Many cells give the same predictions.
        known: dict[bytes, float] = {}
        scores = np.full(self.losses.shape, np.nan)
        for cell in zip(*np.nonzero(self.done), strict=True):
            row = self.predictions[cell]
            key = row.tobytes()
            if key not in known:
                known[key] = metric.score([answers[index] for index in row], self.targets)
            scores[cell] = known[key]
        return scores

    def filled(self, what: Literal["score", "loss"] = "score") -> Float[np.ndarray, "deltas ..."]:
        """Scores or losses with cells between equal ones interpolated, (deltas, *shape); NaN where a cell is still to do."""
        tolerance = self.tolerance if self.tolerance > 0 else -1.0
        scores = np.stack([filled(values, done, tolerance) for values, done in zip(self.scores(), self.done, strict=True)])
        if what == "score":
            return scores
        losses = np.stack([filled(values, done) for values, done in zip(self.losses, self.done, strict=True)])
        return np.where(np.isnan(scores), np.nan, losses)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All of it as tensors and JSON-able metadata (docs/format.md)."""
        tensors = {
            "predictions": torch.from_numpy(self.predictions),
            "losses": torch.from_numpy(self.losses),
            "origin": self.slice.origin,
            "directions": self.slice.directions,
            # Not in the metadata: a regression has another answer for every example and cell, and a header is read whole.
            "answers": pack_texts(self.answers),
        }
        slice_ = {
            "grids": [[grid.low, grid.high, grid.count] for grid in self.slice.grids],
            "labels": list(self.slice.labels),
            "marks": {name: list(coordinates) for name, coordinates in self.slice.marks.items()},
        }
        rest = {
            "deltas": list(self.deltas),
            "marks": {name: asdict(mark) for name, mark in self.marks.items()},
            **{name: getattr(self, name) for name in _PLAIN},
        }
        return tensors, {"format": FORMAT, "slice": slice_, **rest}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Landscape:
        """The inverse of `pack`."""
        slice_ = metadata["slice"]
        return cls(
            slice=Slice(
                tensors["origin"],
                tensors["directions"],
                tuple(map(_grid, slice_["grids"])),
                tuple(slice_["labels"]),
                {name: tuple(coordinates) for name, coordinates in slice_["marks"].items()},
            ),
            deltas=tuple(metadata["deltas"]),
            answers=unpack_texts(tensors["answers"]),
            predictions=tensors["predictions"].numpy(),
            losses=tensors["losses"].numpy(),
            marks={name: Mark(tuple(mark["coordinates"]), mark["distance"]) for name, mark in metadata["marks"].items()},
            **{name: metadata[name] for name in _PLAIN},
        )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically (docs/format.md)."""
        write_tensors(Path(path), *self.pack())

    @classmethod
    def load(cls, path: Path | str) -> Landscape:
        """Read a file of `save`, or a landscape of a study.

        Raises:
            DeltaspaceError: the file is missing, damaged, not a landscape, or was written by a newer version.
        """
        return read_packed(Path(path), FORMAT, "is not a landscape", cls.unpack)


# Fields that metadata holds as they are.
_PLAIN = ("task", "split", "metric", "targets", "tolerance", "precision", "trajectories")


def pack_texts(texts: list[str]) -> UInt8[Tensor, " bytes"]:
    """Texts as bytes: UTF-8 of a JSON list."""
    return torch.frombuffer(bytearray(json.dumps(texts, ensure_ascii=False).encode()), dtype=torch.uint8)


def unpack_texts(packed: UInt8[Tensor, " bytes"]) -> list[str]:
    """The inverse of `pack_texts`."""
    texts: list[str] = json.loads(packed.numpy().tobytes())
    return texts


def _grid(said: Sequence[Any]) -> Grid:
    """A grid as a file says it. ValueError where it says none."""
    try:
        return Grid(*said)
    except DeltaspaceError as error:
        raise ValueError(error.what) from None
