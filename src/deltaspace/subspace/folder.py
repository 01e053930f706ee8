"""A subspace as an artefact of its own: a folder, here or on the Hugging Face Hub. docs/format.md documents every byte.

subspace.json          what is in it, for people and for `deltaspace info`
subspace.safetensors   initial vectors, projections, codes of the source tasks
vectors.safetensors    the intrinsic vectors of all tasks
README.md              model card
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deltaspace.deltas.checkpoint import DESCRIPTION as DELTA
from deltaspace.errors import DeltaspaceError
from deltaspace.markdown import front_matter, literal, plain
from deltaspace.mistakes import plainly
from deltaspace.names import counted
from deltaspace.storage import (
    check_format,
    download,
    exporting,
    hub_name,
    path_of,
    push_to_hub,
    read_json,
    read_metadata,
    seal_holds,
    sealed,
    write_json,
    write_text,
)
from deltaspace.subspace.kept import Kept, kept_markdown
from deltaspace.subspace.subspace import FORMAT, Subspace
from deltaspace.subspace.vectors import Vectors

_DESCRIPTION, _TENSORS, _VECTORS = "subspace.json", "subspace.safetensors", "vectors.safetensors"


def save_subspace(subspace: Subspace, folder: Path | str) -> Path:
    """Write a subspace and its vectors as a folder (docs/format.md), which takes the place of an earlier export whole.

    Raises:
        DeltaspaceError: something else is in the folder, or it cannot be written.
    """
    folder = Path(folder)
    with exporting(folder, "a subspace") as made:
        subspace.save(made / _TENSORS)
        subspace.vectors.save(made / _VECTORS)
        write_json(made / _DESCRIPTION, sealed({**describe(subspace), "checksums": _checksums(made)}))
        write_text(made / "README.md", _card(subspace))
    return folder


def load_subspace(name: str | Path) -> Subspace:
    """Read a folder of `save_subspace`, or one on the Hugging Face Hub.

    Raises:
        DeltaspaceError: there is no such folder, it is damaged, or a newer version wrote it.
    """
    folder = download(name, _TENSORS)
    said = _described(folder) if (folder / _DESCRIPTION).exists() else {}
    subspace = Subspace.load(folder / _TENSORS)
    subspace.kept = kept_in(said, folder / _DESCRIPTION)
    if (folder / _VECTORS).exists():
        subspace.vectors = Vectors.load(folder / _VECTORS)
        if subspace.vectors.dim != subspace.dim:
            raise DeltaspaceError(
                f"{folder / _VECTORS} is of another subspace", found=subspace.vectors.dim, expected=subspace.dim
            )
    return subspace


def push_subspace(subspace: Subspace, repo: str, *, private: bool = False) -> str:
    """Put a subspace on the Hub; returns the commit's address. Raises as `deltaspace.storage.push_to_hub`."""
    with TemporaryDirectory() as folder:
        return push_to_hub(save_subspace(subspace, folder), repo, private=private)


def describe(subspace: Subspace) -> dict[str, Any]:
    """What is in a subspace, as JSON."""
    deltas = {
        name: {
            "parameters": len(entry.initial),
            "map": entry.map.kind,
            "scale": round(entry.map.scale, 6),
            "settings": entry.settings,
        }
        for name, entry in subspace.entries.items()
    }
    return {
        "format": FORMAT,
        "dim": subspace.dim,
        "model": subspace.plm.name,
        "family": subspace.plm.family,
        "model_fingerprint": subspace.plm.fingerprint,
        "seed": subspace.seed,
        "shared": subspace.shared,
        "deltas": deltas,
        "source_tasks": list(subspace.sources),
        "tasks": [{"task": task, "delta": delta} for task, delta in subspace.vectors],
        "kept": [asdict(row) for row in subspace.kept],
    }


def read_description(name: str | Path) -> dict[str, Any]:
    """`describe` of a folder here or on the Hub, without reading its tensors.

    Raises:
        DeltaspaceError: as `load_subspace`.
    """
    if (path_of(name) / DELTA).exists():
        raise DeltaspaceError(
            f"{name} is a delta's checkpoint, not a subspace",
            found=DELTA,
            expected=f"a study, or a folder with {_DESCRIPTION}",
            mend="its README.md says what is in it",
        )
    return _described(download(name, _DESCRIPTION))


def kept_in(described: Mapping[str, Any], where: str | Path) -> tuple[Kept, ...]:
    """What a description says that the subspace keeps; folders of before that was measured say nothing.

    Raises:
        DeltaspaceError: it says something else.
    """
    try:
        return TypeAdapter(tuple[Kept, ...]).validate_python(described.get("kept", ()))
    except ValidationError as error:
        raise DeltaspaceError(
            f"{where} is damaged",
            found=plainly(error),
            expected="what is kept of each solution",
            mend="export the subspace again",
        ) from None


def _described(folder: Path) -> dict[str, Any]:
    """What `subspace.json` says, which must be of the files beside it."""
    path = folder / _DESCRIPTION
    said = read_json(path)
    if not isinstance(said, dict) or "deltas" not in said:
        raise DeltaspaceError(f"{path} is not of a subspace", expected=f"a folder with {_DESCRIPTION}, written by save_subspace")
    check_format(path, said, FORMAT, "is not of a subspace")
    if not seal_holds(said):
        raise DeltaspaceError(
            f"{path} is damaged", found="what it says does not match its digest", mend="export the subspace again"
        )
    # Folders that were written before there were checksums are believed.
    for name, checksum in said.get("checksums", {}).items():
        if read_metadata(folder / name)["checksum"] != checksum:
            raise DeltaspaceError(
                f"{folder / name} is not what {path.name} beside it is of",
                found="files of two subspaces, or of two times",
                mend="export the subspace again",
            )
    return {key: value for key, value in said.items() if key not in ("checksums", "digest")}


def _checksums(folder: Path) -> dict[str, str]:
    return {name: read_metadata(folder / name)["checksum"] for name in (_TENSORS, _VECTORS)}


def _card(subspace: Subspace) -> str:
    described = describe(subspace)["deltas"]
    deltas = "\n".join(f"| {name} | {delta['parameters']:,} | {delta['map']} |" for name, delta in described.items())
    return f"""{front_matter(library_name="deltaspace", base_model=hub_name(subspace.plm.name))}

# A subspace of {plain(subspace.plm.name)}

One space of {counted(subspace.dim, "dimension")} in which {", ".join(subspace.entries)} have their solutions. A task is
{counted(subspace.dim, "number")}; each vector, of which this folder has {len(subspace.vectors)}, decodes as any of these deltas.

| delta | parameters | map |
| --- | --- | --- |
{deltas}

{kept_markdown(subspace.kept)}
Source tasks: {", ".join(subspace.sources) or "none"}. Tasks: {", ".join(subspace.vectors.tasks) or "none"}.

    from deltaspace import SubspaceModel, load_backbone, load_subspace

    subspace = load_subspace("this folder, or its name on the Hub")
    model = SubspaceModel(subspace, load_backbone({literal(subspace.plm.name)}))
    model.set_task("{next(iter([*subspace.vectors.tasks, *subspace.sources]), "name of a task")}", \
delta="{next(iter(subspace.entries))}")
"""
