"""Joint SVD: the subspace in closed form, without training (see `joint.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from deltaspace.errors import DeltaspaceError
from deltaspace.subspace.fitting.joint import basis, cuts, mixture, shared_codes, spread
from deltaspace.subspace.fitting.layered import layered
from deltaspace.subspace.fitting.method import ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.maps import Map
from deltaspace.subspace.maps.linear import Linear
from deltaspace.subspace.methods.registry import PROJECTIONS


@PROJECTIONS.register
class Svd(ProjectionMethod):
    """One code per task, one basis per delta."""

    name: ClassVar[str] = "svd"
    source: ClassVar[str] = "https://doi.org/10.1007/BF02288367"
    summary: ClassVar[str] = "joint singular value decomposition of the displacements of all deltas: shared codes, closed form"

    codes: Literal["task", "layer"] = Field(
        default="task",
        description="what has a code: a task, the same for all deltas; or each tensor of one delta apart, for storage alone",
    )

    def check_deltas(self, names: Sequence[str]) -> None:
        if self.codes == "layer" and len(names) > 1:
            raise DeltaspaceError(
                "svd: codes for each layer are those of one delta",
                found=", ".join(names),
                expected="one delta; several share codes only where a task has one code",
                mend="leave out 'codes: layer', or all deltas but one",
            )

    def check_dim(self, dim: int, tasks: int, blocks: int) -> None:
        if dim > tasks * blocks:
            raise DeltaspaceError(
                f"svd: d = {dim} is more than its directions: the rest would decode to nothing",
                found=f"{tasks} source task{'s' * (tasks > 1)}, whose directions are cut into at most {blocks} by depth",
                expected=f"d of at most {tasks * blocks}",
                mend="lower 'dim', add source tasks, or choose the projection dense, which draws what the tasks leave empty",
            )

    def numbers(self, sizes: Sequence[tuple[int, bool]], tasks: int, dim: int) -> int:
        # Directions of one tensor each; there are as many as the displacements have numbers at most.
        return sum(size for size, _ in sizes) if self.codes == "layer" else super().numbers(sizes, tasks, dim)

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        if self.codes == "layer":
            self.check_deltas([f"{len(sources)} deltas"] * len(sources))
            [source] = sources
            if source.large:
                raise DeltaspaceError("svd: codes for each layer are not for fine-tuning", expected="a delta of few parameters")
            return [layered(source, self.units(source), dim)]
        maps, _ = decompose(self, sources, dim)
        return maps


def decompose(method: ProjectionMethod, sources: Sequence[Source], dim: int) -> tuple[list[Map], Float[Tensor, "tasks dim"]]:
    """The joint SVD of all deltas: their maps, and the source tasks' codes, which all of them share."""
    measured = [method.units_and_products(source) for source in sources]
    rank = min(sources[0].tasks, dim)
    parts = cuts(dim, rank, min(len(source.blocks) for source in sources))
    codes = shared_codes([products for _, products in measured], rank)
    maps: list[Map] = []
    for source, (unit, _) in zip(sources, measured, strict=True):
        if source.large:
            maps.append(mixture(source, codes, parts, dim))
        else:
            maps.append(Linear(unit, basis(source, unit, codes, parts, dim)))
    # d beyond rank * blocks: dimensions that decode to nothing.
    return maps, pad(spread(codes, parts), (0, dim - sum(parts)))
