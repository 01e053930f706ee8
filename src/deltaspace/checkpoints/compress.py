"""Many checkpoints of peft in few numbers each, for storage: no tasks, no texts, nothing trained.

An SVD of each tensor around the checkpoints' mean, of which the d largest directions of all tensors together are kept
(`subspace/fitting/layered.py`). What is lost of each checkpoint is measured on what is decoded, before anything is written:

    parameter error = |D' - D| / min(|D|, |theta - theta_i|),    D = theta - theta0, which the space decodes to D'

theta_i is where the method begins: theta0 may be a mean that one checkpoint has drawn far away from all the others.

Streaming: one checkpoint is in memory at a time, or one tensor of all of them; their vectors lie in files beside the output
meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deltaspace.checkpoints.read_peft import Checkpoints, initial_for
from deltaspace.deltas import AttachedDelta, make_delta, native_lora, peft_settings, read_delta
from deltaspace.deltas.peft_checkpoint import CONFIG, WEIGHTS
from deltaspace.errors import DeltaspaceError
from deltaspace.names import require_task_name
from deltaspace.storage import check_export, download, path_of, scratch_folder, write_tensors
from deltaspace.subspace import Entry, Plm, Subspace, find_projection
from deltaspace.subspace.fitting import Source
from deltaspace.subspace.fitting.displacements import Displaced, InFiles
from deltaspace.subspace.folder import save_subspace
from deltaspace.subspace.kept import relative_error

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.deltas import Delta

# Told how far it is: steps done, of how many, what is done.
Told = Callable[[int, int, str], None]
_HISTORY = "compressed"


@dataclass(frozen=True)
class Compressed:
    """A checkpoint that a space keeps.

    Args:
        task: what it is called there.
        source: the checkpoint, as it was given.
        sha256: of its weights' file.
        parameter_error: relative length of what is lost: 0, nothing; 1, as much as there was.
    """

    task: str
    source: str
    sha256: str
    parameter_error: float


def compress(
    names: Sequence[str],
    backbone: Backbone,
    out: Path,
    *,
    dim: int,
    initial_seed: int | None = None,
    same_base: bool = False,
    told: Told = lambda done, count, text: None,
) -> list[Compressed]:
    """Write checkpoints as one subspace, whose source tasks are called like their folders.

    Args:
        names: folders of peft, or owner/name on the Hub, of one method and shape.
        backbone: the PLM that they are of.
        out: the subspace's folder.
        dim: d, directions of all tensors together; each checkpoint has d numbers.
        initial_seed: that their initial values were drawn from; else displacements are from their mean.
        same_base: their model is this one, whatever they call it.
        told: told how far it is.

    Raises:
        DeltaspaceError: two have one name, one does not fit (all of them are told), d is not possible, or it cannot be written.
    """
    tasks = _tasks(names)
    for name in names:
        check_export(out, "a subspace", name)
    delta_name, delta = _delta_of(str(names[0]))
    attached = AttachedDelta(delta, backbone, name=delta_name)
    method = find_projection("svd", codes="layer")
    if dim > (limit := len(tasks) * len(attached.layout.entries)) or dim < 1:
        raise DeltaspaceError(
            f"no {dim:,} directions",
            found=f"{len(tasks):,} checkpoints of {len(attached.layout.entries):,} tensors",
            expected=f"1 to {limit:,}, which is checkpoints times tensors",
            mend="change --dim",
        )
    checkpoints = Checkpoints(names, attached, same_base=same_base)
    with scratch_folder(out) as scratch:
        paths, digests = _unpacked(checkpoints, scratch, told)
        initial, how = initial_for(attached, checkpoints, initial_seed)
        initial = initial.to("cpu", torch.float32)
        told(0, 1, f"decomposing {len(tasks):,} checkpoints")
        displacements = Displaced(InFiles(paths, name="vector"), initial)
        [made] = method.make([Source(displacements, attached.layout.sizes)], dim, 0)
        entry, codes, rows = Entry(initial, made, attached.settings()), [], []
        for number, (task, name) in enumerate(tasks.items()):
            told(number, len(tasks), f"what is kept of {task}")
            displacement = displacements.take([number])
            codes.append(entry.encode(displacement))
            error = _error(displacement, entry.displace(codes[-1]), displacement + initial - attached.initial.to(initial))
            if not math.isfinite(error):
                raise DeltaspaceError(
                    "these checkpoints cannot be decomposed",
                    found=f"numbers so large, in {name} or another one, that their squares are infinite",
                    mend="leave out checkpoints whose training diverged",
                )
            rows.append(Compressed(task, name, digests[number], error))
        plm = Plm(backbone.name, backbone.fingerprint, backbone.family.name)
        said = {"initial": how, _HISTORY: {row.task: [row.source, row.sha256, row.parameter_error] for row in rows}}
        space = Subspace(dim, plm, {attached.name: entry}, tuple(tasks), torch.stack([torch.cat(codes)]), history=said)
        save_subspace(space, out)
    return rows


def _error(displacement: Tensor, kept: Tensor, added: Tensor) -> float:
    """The parameter error of a checkpoint; see the top of this file."""
    before, added_length = float(displacement.double().norm()), float(added.double().norm())
    longer = before / added_length if 0 < added_length < before else 1.0
    return relative_error([(displacement, kept)]) * longer


def _unpacked(checkpoints: Checkpoints, scratch: Path, told: Told) -> tuple[list[Path], list[str]]:
    """Each checkpoint's vector as a file, of which any columns can be read, and the SHA-256 that it was of."""
    paths, digests = [], []
    for number, checkpoint in enumerate(checkpoints.checked()):
        told(number, len(checkpoints), f"reading {checkpoint.name}")
        paths.append(scratch / f"{number}.safetensors")
        digests.append(checkpoint.sha256)
        write_tensors(paths[-1], {"vector": checkpoint.parameters.float()}, {})
    return paths, digests


def errors_of(subspace: Subspace, delta: str) -> dict[str, float]:
    """The parameter error of each source task as a delta, where that was measured: by `compress`, or by a study's run."""
    said: dict[str, Any] = subspace.history.get(_HISTORY, {})
    by_run = {row.task: row.parameter_error for row in subspace.kept if row.delta == delta and row.dim == subspace.dim}
    return by_run | {task: float(error) for task, (_, _, error) in said.items()}


def size_of(name: str | Path) -> int:
    """How many bytes a checkpoint's or a subspace's weights take: its safetensors files."""
    return sum(path.stat().st_size for path in _here(name).glob("*.safetensors"))


def _here(name: str | Path) -> Path:
    return folder if (folder := path_of(name)).is_dir() else download(name, CONFIG)


def _tasks(names: Sequence[str]) -> dict[str, str]:
    """Task -> checkpoint."""
    tasks: dict[str, str] = {}
    for name in map(str, names):
        task = Path(name).absolute().name
        require_task_name(task, f"{name} has no name that a task can have", "rename the folder")
        if task in tasks:
            raise DeltaspaceError(
                f"two checkpoints are called {task}", found=f"{tasks[task]}, {name}", mend="rename one of the folders"
            )
        tasks[task] = name
    return tasks


def _delta_of(name: str) -> tuple[str, Delta]:
    """What the first checkpoint is, which the others must be too: the delta `lora` where it fits, else peft's own."""
    folder = download(name, CONFIG)
    said = peft_settings(folder)
    native = native_lora(folder, said["peft"], said["settings"])
    if native is not None:
        return "lora", make_delta("lora", native)
    method = str(said["peft"]).lower()
    return method, read_delta(method, said, str(folder / WEIGHTS))
