"""Which subspace, and which of its tasks as which delta, a verb's options mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltaspace.cli._options import refuse_sweep
from deltaspace.errors import DeltaspaceError

if TYPE_CHECKING:
    from torch import Tensor

    from deltaspace.backbone import Backbone
    from deltaspace.deltas import AttachedDelta
    from deltaspace.subspace import Subspace


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return (folder / "recipe.yaml").exists()


def subspace_of(folder: Path, dim: int | None, seed: int | None) -> Subspace:
    """The subspace of a study, or of an exported folder.

    Raises:
        DeltaspaceError: there is none, or `dim` and `seed` choose none.
    """
    from deltaspace.study import read_subspace
    from deltaspace.subspace.folder import load_subspace

    refuse_sweep(folder)
    if is_study(folder):
        return read_subspace(folder, dim, seed)
    refuse_choice(folder, dim, seed)
    return load_subspace(folder)


def refuse_choice(folder: Path | str, dim: int | None, seed: int | None) -> None:
    """Raise DeltaspaceError where --dim or --seed are given for what is no study."""
    if dim is not None or seed is not None:
        raise DeltaspaceError(f"{folder} is no study", expected="a study's folder, where --dim or --seed chooses a subspace")


@dataclass(frozen=True)
class Chosen:
    """A task of a subspace as one of its deltas.

    Args:
        subspace: where it is.
        task: its name.
        delta: as which delta.
        through: the delta that its vector was found through.
        origin: where the vector is from, in words.
    """

    subspace: Subspace
    task: str
    delta: str
    through: str
    origin: str

    @property
    def of_code(self) -> bool:
        """Whether its vector is a source task's code, not one that was tuned."""
        return not self.subspace.vectors.deltas_of(self.task)

    def provenance(self) -> dict[str, object]:
        """Rows of a model card's table."""
        said = {"task": self.task, "vector": self.origin, "d": self.subspace.dim, "seed": self.subspace.seed}
        kept = [str(row) for row in self.subspace.kept if self.of_code and (row.task, row.delta) == (self.task, self.delta)]
        return {**said, **({"kept": "; ".join(kept)} if kept else {})}

    def on_plm(self, backbone: Backbone | None = None) -> tuple[AttachedDelta, Tensor]:
        """The delta on the PLM, and its parameters, (n,).

        Args:
            backbone: the PLM, if it is loaded already.
        """
        from deltaspace.backbone import load_backbone
        from deltaspace.subspace import SubspaceModel

        plm = self.subspace.plm
        attached = SubspaceModel(self.subspace, backbone or load_backbone(plm.name, family=plm.family or None)).attached(
            self.delta
        )
        on_device = self.subspace.to(attached.backbone.device)
        return attached, on_device.decode(self.delta, on_device.vector(self.task, self.through))


def choose(subspace: Subspace, task: str, delta: str | None, through: str | None) -> Chosen:
    """The task and delta that options name.

    Raises:
        DeltaspaceError: there is no such task, delta or vector.
    """
    if delta is None:
        raise DeltaspaceError("as which delta?", expected="--delta and one of " + ", ".join(subspace.entries))
    # The task's vectors say themselves through which deltas there are some.
    if through is not None and task in subspace.sources and not subspace.vectors.deltas_of(task):
        subspace.entry(through)
        if through != delta:
            raise DeltaspaceError(
                f"no vector of {task} was tuned through {through}",
                found="a source task, whose code all deltas read",
                mend="leave out --through",
            )
    through = through or subspace.through(task, delta)
    subspace.vector(task, through)
    origin = f"found through {through}" if subspace.vectors.deltas_of(task) else "the source task's code"
    return Chosen(subspace, task, delta, through, origin)
