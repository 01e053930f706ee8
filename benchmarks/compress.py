"""`python -m benchmarks.compress STUDY…`: many LoRAs of one shape in few dimensions, beside vLoRA and lorashare, in one run.

Needs `pip install vlora-dev lorashare`. The LoRAs are the studies' independent solutions, written as peft's checkpoints. Error:
root of the squared error of all parameters over the squared displacements from the common initial values. Size: bytes of all
files that the tool needs to give the LoRAs back. Seconds: from the checkpoints' folders to these files.

- deltaspace: joint SVD of the displacements, one code for all layers of a task.
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
from collections.abc import Callable
from pathlib import Path

import torch
from deltaspace.subspace.methods.displacements import InMemory
from safetensors.torch import load_file

from benchmarks.run import machine
from deltaspace.backbone import load_backbone
from deltaspace.checkpoints import read_checkpoints
from deltaspace.checkpoints.export import export_delta
from deltaspace.deltas import AttachedDelta
from deltaspace.storage import read_tensors, write_json
from deltaspace.study import load_recipe
from deltaspace.study.history import versions
from deltaspace.subspace import Subspace, find_projection

RESULTS = Path(__file__).parent / "results" / "compress.json"
Loras = dict[str, dict[str, torch.Tensor]]


def checkpoints(studies: list[Path], count: int, folder: Path) -> tuple[AttachedDelta, dict[str, Path]]:
    """The studies' LoRAs as folders of peft."""
    attached, found = None, {}
    for study in studies:
        recipe = load_recipe(study / "recipe.yaml")
        if attached is None:
            backbone = load_backbone(recipe.model, family=recipe.family, max_length=recipe.max_length)
            attached = AttachedDelta(recipe.delta("lora"), backbone, recipe.seed[0])
        for path in sorted((study / "solutions" / "lora").glob("*.safetensors")):
            vector = read_tensors(path)[0]["vector"]
            if len(found) < count and len(vector) == attached.layout.size:
                name = f"{study.name}-{path.stem}"
                found[name] = export_delta(attached, vector, folder / name)
    assert attached is not None
    return attached, found


def ours(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """Joint SVD; gives back what gives the LoRAs back."""
    found = read_checkpoints([str(folder) for folder in folders.values()], attached)
    rows = torch.stack([checkpoint.parameters - attached.initial for checkpoint in found])
    [projection] = find_projection("svd").make([InMemory(rows)], [[attached.layout.size]], dim, 0)
    subspace = Subspace(
        dim, attached.backbone.fingerprint, {"lora": attached.initial}, {"lora": projection}, (), torch.zeros(1, 0, dim), True, {}
    )
    for name, code in zip(folders, projection.encode(rows), strict=True):
        subspace.vectors.add(name, "lora", code)
    subspace.save_pretrained(out)

    def give() -> Loras:
        loaded = Subspace.from_pretrained(out)
        names = [entry for entry, _ in attached.layout.entries]
        found = {}
        for task, _ in loaded.vectors:
            parts = attached.layout.split(loaded.decode("lora", loaded.vectors.get(task)))
            found[task] = {"base_model.model." + name.replace(".default", ""): parts[name] for name in names}
        return found

    return give


def vlora(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """vLoRA's shared subspace."""
    from vlora import SharedSubspace, load_adapter

    adapters = [load_adapter(folder) for folder in folders.values()]
    SharedSubspace.from_adapters(adapters, task_ids=list(folders), num_components=dim).save(out)

    def give() -> Loras:
        loaded, found = SharedSubspace.load(out), {}
        for task in folders:
            weights = loaded.reconstruct(task)
            own = {f"base_model.model.{layer}.lora_A.weight": t for layer, t in weights.lora_a.items()}
            found[task] = own | {f"base_model.model.{layer}.lora_B.weight": t for layer, t in weights.lora_b.items()}
        return found

    return give


def lorashare(attached: AttachedDelta, folders: dict[str, Path], dim: int, out: Path) -> Callable[[], Loras]:
    """lorashare's SHARE."""
    from lorashare import SHAREModel

    with contextlib.redirect_stdout(io.StringIO()):
        paths = {name: str(folder) for name, folder in folders.items()}
        SHAREModel.from_adapters(paths, num_components=dim, device="cpu").save_pretrained(out)

    def give() -> Loras:
        found = {}
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            loaded = SHAREModel.from_pretrained(out)
            for task in folders:
                loaded.reconstruct(task, output_dir=folder)
                [path] = Path(folder).rglob("*.safetensors")
                found[task] = {key: tensor.clone() for key, tensor in load_file(path).items()}
                shutil.rmtree(path.parent)
        return found

    return give


TOOLS = {"deltaspace": ours, "vlora-dev": vlora, "lorashare": lorashare}


def main() -> None:
    """Measure, print a table, write `results/compress.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--dims", type=int, nargs="+", default=[8, 16, 32])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        attached, folders = checkpoints(options.studies, options.count, Path(place) / "loras")
        whole = {name: load_file(folder / "adapter_model.safetensors") for name, folder in folders.items()}
        start = {f"base_model.model.{k.replace('.default', '')}": t for k, t in attached.layout.split(attached.initial).items()}
        moved = sum(float((t - start[key]).square().sum()) for own in whole.values() for key, t in own.items())
        plain = sum((folder / "adapter_model.safetensors").stat().st_size for folder in folders.values())
        print(f"{len(folders)} LoRAs of {attached.layout.size:,} parameters, {plain / 1e6:.1f} MB", flush=True)
        for dim in options.dims:
            for name, tool in TOOLS.items():
                out = Path(place) / f"{name}-{dim}"
                out.mkdir()
                started = time.perf_counter()
                give = tool(attached, folders, dim, out)
                seconds = time.perf_counter() - started
                back = give()
                wrong = sum(float((t - back[task][key]).square().sum()) for task, own in whole.items() for key, t in own.items())
                size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
                row = {"tool": name, "components": dim, "error": (wrong / moved) ** 0.5, "bytes": size, "seconds": seconds}
                rows.append(row)
                print(f"{name:10} {dim:3} components: error {row['error']:.4f}, {size / 1e6:.2f} MB, {seconds:.2f} s", flush=True)
        write_json(RESULTS, {"machine": machine(), "versions": versions(), "loras": len(folders), "bytes": plain, "rows": rows})


if __name__ == "__main__":
    main()
