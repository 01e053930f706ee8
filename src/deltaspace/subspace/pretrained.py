"""A subspace as an artefact of its own: a folder, here or on the Hugging Face Hub. docs/format.md documents every byte.

subspace.json          what is in it, for people and for `deltaspace info`
subspace.safetensors   initial vectors, projections, codes of the source tasks
vectors.safetensors    the intrinsic vectors of all tasks
README.md              model card
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, write_json, write_text
from deltaspace.storage import download
from deltaspace.storage import hub_name

if TYPE_CHECKING:
    from deltaspace.subspace.subspace import Subspace

_DESCRIPTION, _TENSORS, _VECTORS = "subspace.json", "subspace.safetensors", "vectors.safetensors"


def save_pretrained(subspace: Subspace, folder: Path) -> Path:
    """Write a subspace and its vectors as a folder; each file atomically."""
    subspace.save(folder / _TENSORS)
    subspace.vectors.save(folder / _VECTORS)
    write_json(folder / _DESCRIPTION, describe(subspace))
    write_text(folder / "README.md", _card(subspace))
    return folder


def from_pretrained(name: str | Path) -> Subspace:
    """Read a folder of `save_pretrained`, or one on the Hub.

    Raises:
        DeltaspaceError: there is no such folder, it is damaged, or a newer version wrote it.
    """
    from deltaspace.subspace.subspace import Subspace
    from deltaspace.subspace.vectors import Vectors

    folder = download(name, _TENSORS)
    found = Subspace.load(folder / _TENSORS)
    if (folder / _VECTORS).exists():
        found.vectors = Vectors.load(folder / _VECTORS)
        if found.vectors.dim != found.dim:
            raise DeltaspaceError(f"{folder / _VECTORS} is of another subspace", found=found.vectors.dim, expected=found.dim)
    return found


def describe(subspace: Subspace) -> dict[str, Any]:
    """What is in a subspace, as JSON."""
    from deltaspace.subspace.subspace import FORMAT

    deltas = {
        name: {
            "parameters": len(subspace.initial[name]),
            "projection": projection.kind,
            "scale": round(projection.scale, 6),
            "settings": subspace.deltas.get(name, {}),
        }
        for name, projection in subspace.projections.items()
    }
    return {
        "format": FORMAT,
        "dim": subspace.dim,
        "model": subspace.model,
        "family": subspace.family,
        "model_fingerprint": subspace.backbone,
        "seed": subspace.seed,
        "shared": subspace.shared,
        "deltas": deltas,
        "source_tasks": list(subspace.sources),
        "tasks": [{"task": task, "delta": delta} for task, delta in subspace.vectors],
    }


def described(name: str | Path) -> dict[str, Any]:
    """`describe` of a folder here or on the Hub, without reading its tensors.

    Raises:
        DeltaspaceError: as `from_pretrained`.
    """
    found = read_json(download(name, _DESCRIPTION) / _DESCRIPTION)
    if not isinstance(found, dict) or "deltas" not in found:
        raise DeltaspaceError(f"{name} is not a subspace", expected=f"a folder with {_DESCRIPTION}, written by save_pretrained")
    return found


def _card(subspace: Subspace) -> str:
    found = describe(subspace)
    deltas = "\n".join(f"| {name} | {own['parameters']:,} | {own['projection']} |" for name, own in found["deltas"].items())
    return f"""---
library_name: deltaspace
base_model: {hub_name(subspace.model)}
---

# A subspace of {subspace.model}

One space of {subspace.dim} dimensions in which {", ".join(subspace.projections)} have their solutions. A task is {subspace.dim}
numbers; each of its {len(subspace.vectors)} vectors decodes as any of these deltas.

| delta | parameters | projection |
| --- | --- | --- |
{deltas}

Source tasks: {", ".join(subspace.sources) or "none"}. Tasks: {", ".join(subspace.vectors.tasks) or "none"}.

    from deltaspace import Subspace, load_backbone

    subspace = Subspace.from_pretrained("this folder, or its name on the Hub")
    model = subspace.attach(load_backbone("{subspace.model}"))
    model.set_task("{next(iter([*subspace.vectors.tasks, *subspace.sources]), "name of a task")}", \
delta="{next(iter(subspace.projections))}")
"""
