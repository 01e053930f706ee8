"""What a finished study holds, ready to be used elsewhere: its subspace with the vectors of all tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_metadata, read_tensors

if TYPE_CHECKING:
    from deltaspace.subspace import Subspace


def study_subspace(folder: Path, dim: int | None = None, seed: int | None = None) -> Subspace:
    """The subspace of a study, with every vector that was tuned in it.

    Args:
        folder: the study's.
        dim: which d; the only one by default.
        seed: which seed; the first by default.

    Raises:
        DeltaspaceError: the study has no subspace yet, or several and none was chosen.
    """
    from deltaspace.subspace import Subspace

    paths = sorted((folder / "subspace").glob("*-*.safetensors"))
    places = [tuple(map(int, path.stem.split("-"))) for path in paths]
    if not places:
        raise DeltaspaceError(f"{folder} has no subspace yet", mend="deltaspace approximate RECIPE --out " + str(folder))
    dims, seeds = sorted({place[0] for place in places}), sorted({place[1] for place in places})
    if dim is None and len(dims) > 1:
        raise DeltaspaceError(
            f"{folder} has several subspaces", found="d = " + ", ".join(map(str, dims)), mend="choose one: --dim"
        )
    chosen = (dims[0] if dim is None else dim, seeds[0] if seed is None else seed)
    if chosen not in places:
        listed = ", ".join(f"d = {own[0]} with seed {own[1]}" for own in places)
        raise DeltaspaceError(f"{folder} has no subspace with d = {chosen[0]} and seed {chosen[1]}", expected=listed)
    found = Subspace.load(folder / "subspace" / f"{chosen[0]}-{chosen[1]}.safetensors")
    for path, row in vector_rows(folder, *chosen):
        found.vectors.add(row["task"], row["delta"], read_tensors(path)[0]["vector"])
    return found


def vector_rows(folder: Path, dim: int, seed: int) -> list[tuple[Path, dict[str, Any]]]:
    """The files of all vectors tuned in one subspace of a study, with their rows of scores."""
    paths = sorted((folder / "vectors" / str(dim)).glob(f"*-{seed}.safetensors"))
    found = [(path, read_metadata(path)["row"]) for path in paths if not path.name.startswith(".")]
    return [(path, row) for path, row in found if row["seed"] == seed]
