"""A landscape of a study that is there already, beside those that its recipe asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Landscape
from deltaspace.study.folder import Artefact, Folder
from deltaspace.study.history import logged
from deltaspace.study.recipe import load_recipe

if TYPE_CHECKING:
    from deltaspace.study.landscapes import SliceSpec
    from deltaspace.study.run import Report


def explore(folder: Path, spec: SliceSpec, *, report: Report | None = None) -> tuple[str, Landscape]:
    """Sample a slice of a study's subspace, or go on where that was stopped; a landscape that is there is read.

    Args:
        folder: of a study whose vectors are tuned.
        spec: which slice.
        report: told what goes on.

    Returns:
        Its name and the landscape, which is kept in the study.

    Raises:
        DeltaspaceError: the folder is no study, the slice does not fit its recipe, or what it needs is not there or stale.
    """
    from deltaspace.study.run import Report, Study

    if not (folder / "recipe.yaml").exists():
        raise DeltaspaceError(f"{folder} is not a study", expected="the folder given to 'deltaspace run --out'")
    recipe = load_recipe(folder / "recipe.yaml")
    wanted = recipe.slice_spec(spec)
    assert wanted.dim is not None and wanted.seed is not None
    report = report or Report()
    study = Study(recipe, Folder(folder), folder, report)
    needed = {study.subspace_path(wanted.dim, wanted.seed): study.subspace_print(wanted.dim, wanted.seed)}
    needed |= study.slice_vectors(wanted)
    for path, fingerprint in needed.items():
        state = study.folder.state(Artefact(path, fingerprint, lambda _: None))
        if state != "valid":
            raise DeltaspaceError(
                f"the landscape needs {folder / path}, which is {state}",
                mend=f"deltaspace run {folder / 'recipe.yaml'} --out {folder}",
            )
    artefact = study.artefact(wanted.path, study.landscape_print(wanted), study.make_landscape, wanted)
    with study.folder.locked(), logged(study.folder, "landscape") as log:
        state = study.folder.state(artefact)
        report.plan(int(state != "valid"), int(state == "valid"))
        if state != "valid":
            log.begin()
            study.make(artefact, state)
            log.made(artefact.path)
    return str(wanted.name), Landscape.load(folder / artefact.path)
