"""A script for several processes: approximates subspaces of a tiny model, and writes what came of it in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from deltaspace.deltas import AttachedDelta, make_delta
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import write_json
from deltaspace.subspace import Approximation, approximate
from deltaspace.subspace.fitting.displacements import InMemory
from deltaspace.training import Processes
from tests.tiny import tiny_backbone, tiny_task

METHODS = ("dense", "autoencoder", "aligned")
DELTAS = {"adapter": {"bottleneck": 2}, "lora": {"r": 2}}


def main(out: Path, accumulate: int) -> None:
    """Write `RANK.json`: of each method the curve of dev scores and losses, and what every delta decodes."""
    torch.set_num_threads(1)
    backbone = tiny_backbone("bert")
    attached = [AttachedDelta(make_delta(name, settings), backbone, 0) for name, settings in DELTAS.items()]
    tasks = [tiny_task(f"task-{index}", size=16 + index) for index in range(3)]
    generator = torch.Generator().manual_seed(0)
    drawn = {delta.name: InMemory(0.5 * torch.randn(len(tasks), delta.layout.size, generator=generator)) for delta in attached}
    how = Approximation(steps=6, lr=0.2, batch_size=4, tasks=2, evaluate_every=1, accumulate=accumulate)
    told = {}
    for method in METHODS:
        try:
            made = approximate(attached, drawn, tasks, dim=2, projection=method, settings=how)
        except DeltaspaceError as error:
            told[method] = {"error": str(error)}
            continue
        decoded = [made.decode(delta.name, made.mean_code(delta.name)).tolist() for delta in attached]
        told[method] = {"curve": made.history["curve"], "decoded": decoded}
    processes = Processes.launched()
    write_json(out / f"{processes.rank}.json", {"count": processes.count, **told})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
