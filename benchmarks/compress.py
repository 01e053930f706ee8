"""`python -m benchmarks.compress STUDY…`: many LoRAs of one shape in few dimensions, beside vLoRA and lorashare, in one run.

Needs `pip install vlora-dev lorashare`. The LoRAs are the studies' independent solutions, written as peft's checkpoints. Error:
root of the squared error of all parameters over the squared displacements from the common initial values. Size: bytes of all
files that the tool needs to give the LoRAs back. Seconds: from the checkpoints' folders to these files.

- deltaspace: joint SVD of the displacements, one code for all layers of a task; with codes by layer an SVD of each tensor around
  the LoRAs' mean, of as many directions on average, but more where they hold more.
- vlora-dev: SVD of each layer's A and B apart, with a mean; a code for each of them.
- lorashare: principal directions of the rows of each layer's A and B, with a code for each of the rank's rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.measuring import conditions
from deltaspace.backbone import load_backbone
from deltaspace.checkpoints import export_delta, read_checkpoints
from deltaspace.deltas import AttachedDelta
from deltaspace.storage import read_tensors, write_json
from deltaspace.study import load_recipe
from deltaspace.subspace import Entry, Plm, ProjectionMethod, Source, Subspace, find_projection, load_subspace, save_subspace
from deltaspace.subspace.fitting.displacements import InMemory

RESULTS = Path(__file__).parent / "results" / "compress.json"
Loras = dict[str, dict[str, torch.Tensor]]
# Attached delta, folders of the LoRAs, components, folder to write to; gives back what gives the LoRAs back.
Tool = Callable[[AttachedDelta, dict[str, Path], int, Path], Callable[[], Loras]]


def checkpoints(studies: Sequence[Path], count: int, folder: Path) -> tuple[AttachedDelta, dict[str, Path]]:
    """The studies' LoRAs as folders of peft: at most `count` of the first study's shape."""
    recipe = load_recipe(studies[0] / "recipe.yaml")
    backbone = load_backbone(recipe.model, family=recipe.family, max_length=recipe.max_length)
    attached = AttachedDelta(recipe.delta("lora"), backbone, recipe.seed[0], "lora")
    folders: dict[str, Path] = {}
    for study in studies:
        for path in sorted((study / "independent" / "lora").glob("*/*.safetensors")):
            vector = read_tensors(path)[0]["vector"]
            if len(folders) < count and len(vector) == attached.layout.size:
                name = f"{study.name}-{path.parent.name}-{path.stem}"
                folders[name] = export_delta(attached, vector, folder / name)
    return attached, folders


def peft_names(attached: AttachedDelta, vector: torch.Tensor) -> dict[str, torch.Tensor]:
    """A vector's tensors under the names that peft's checkpoints have."""
    parts = attached.layout.split(vector)
    return {f"base_model.model.{name.replace('.default', '')}": part for name, part in parts.items()}


def joint_svd(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """deltaspace's joint SVD."""
    # The layout as one block: no direction is cut.
    return _svd(find_projection("svd"), [attached.layout.size], attached, _read(attached, folders), dim, out)


def layered_svd(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """deltaspace's SVD of each tensor around the LoRAs' mean, with `dim` directions for each tensor on average."""
    loras = _read(attached, folders)
    centered = AttachedDelta(attached.delta, attached.backbone, attached.seed, "lora", torch.stack(list(loras.values())).mean(0))
    sizes = attached.layout.sizes
    return _svd(find_projection("svd", codes="layer"), sizes, centered, loras, dim * len(sizes), out)


def _read(attached: AttachedDelta, folders: dict[str, Path]) -> dict[str, torch.Tensor]:
    """Parameters of each LoRA, (n,)."""
    read = read_checkpoints([str(folder) for folder in folders.values()], attached)
    return {name: checkpoint.parameters for name, checkpoint in zip(folders, read, strict=True)}


def _svd(
    method: ProjectionMethod, blocks: list[int], attached: AttachedDelta, loras: dict[str, torch.Tensor], dim: int, out: Path
) -> Callable[[], Loras]:
    rows = torch.stack(list(loras.values())) - attached.initial
    [decoder] = method.make([Source(InMemory(rows), blocks)], dim, 0)
    plm = attached.backbone
    entry = Entry(attached.initial, decoder, attached.settings())
    subspace = Subspace(
        dim, Plm(plm.name, plm.fingerprint, plm.family.name), {"lora": entry}, (), torch.zeros(1, 0, dim), seed=attached.seed
    )
    for name, code in zip(loras, decoder.encode(rows), strict=True):
        subspace.vectors.add(name, "lora", code)
    save_subspace(subspace, out)

    def give() -> Loras:
        loaded = load_subspace(out)
        return {task: peft_names(attached, loaded.decode("lora", loaded.vectors.get(task))) for task in loaded.vectors.tasks}

    return give


def vlora(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """vLoRA's shared subspace."""
    from vlora import SharedSubspace, load_adapter

    adapters = [load_adapter(folder) for folder in folders.values()]
    SharedSubspace.from_adapters(adapters, task_ids=list(folders), num_components=dim).save(out)

    def give() -> Loras:
        loaded, loras = SharedSubspace.load(out), {}
        for task in folders:
            weights = loaded.reconstruct(task)
            down = {f"base_model.model.{layer}.lora_A.weight": tensor for layer, tensor in weights.lora_a.items()}
            up = {f"base_model.model.{layer}.lora_B.weight": tensor for layer, tensor in weights.lora_b.items()}
            loras[task] = down | up
        return loras

    return give


def lorashare(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """lorashare's SHARE."""
    from lorashare import SHAREModel

    with contextlib.redirect_stdout(io.StringIO()):
        paths = {name: str(folder) for name, folder in folders.items()}
        SHAREModel.from_adapters(paths, num_components=dim, device="cpu").save_pretrained(out)

    def give() -> Loras:
        loras: Loras = {}
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            loaded = SHAREModel.from_pretrained(out)
            for task in folders:
                loaded.reconstruct(task, output_dir=folder)
                [path] = Path(folder).rglob("*.safetensors")
                loras[task] = {key: tensor.clone() for key, tensor in load_file(path).items()}
                shutil.rmtree(path.parent)
        return loras

    return give


TOOLS: dict[str, Tool] = {
    "deltaspace": joint_svd,
    "deltaspace, codes by layer": layered_svd,
    "vlora-dev": vlora,
    "lorashare": lorashare,
}


def squared_distance(left: Loras, right: Loras) -> float:
    """Over all parameters of all LoRAs."""
    return sum(float((t - right[task][key]).square().sum()) for task, lora in left.items() for key, t in lora.items())


def measure(name: str, attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> dict[str, Any]:
    """One tool at one number of components; see the top of this file."""
    out.mkdir()
    started = time.perf_counter()
    give = TOOLS[name](attached, folders, dim, out)
    seconds = time.perf_counter() - started
    whole = {task: load_file(folder / "adapter_model.safetensors") for task, folder in folders.items()}
    moved = squared_distance(whole, dict.fromkeys(whole, peft_names(attached, attached.initial)))
    error = (squared_distance(whole, give()) / moved) ** 0.5
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"tool": name, "components": dim, "error": error, "bytes": size, "seconds": seconds}


def main() -> None:
    """Measure, print a table, write `results/compress.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--dims", type=int, nargs="+", default=[8, 16, 32])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        attached, folders = checkpoints(options.studies, options.count, Path(temporary) / "loras")
        plain = sum((folder / "adapter_model.safetensors").stat().st_size for folder in folders.values())
        print(f"{len(folders)} LoRAs of {attached.layout.size:,} parameters, {plain / 1e6:.1f} MB", flush=True)
        for dim in options.dims:
            for name in TOOLS:
                row = measure(name, attached, folders, dim, Path(temporary) / f"{name}-{dim}")
                rows.append(row)
                print(
                    f"{name:26} {dim:3} components: error {row['error']:.4f}, "
                    f"{row['bytes'] / 1e6:.2f} MB, {row['seconds']:.2f} s",
                    flush=True,
                )
        write_json(RESULTS, {**conditions(), "loras": len(folders), "bytes": plain, "rows": rows})


if __name__ == "__main__":
    main()
