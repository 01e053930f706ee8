"""A control: of every transferred vector only the part that the source tasks' codes span."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.transferred import Key, Transferred
from deltaspace.subspace.codes import in_span


class InSpan(Transferred):
    """Transfer of another vector: scores alone, nothing is tuned."""

    name = "in_span"
    title = "part in the codes' span"
    position = 48

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return super().keys(recipe) if recipe.controls else iter(())

    def decoded(self, resources: Resources, key: Key) -> Tensor:
        codes = SUBSPACE.load(resources, key.vector.subspace).codes_of(key.source)
        return in_span(super().decoded(resources, key), codes)


IN_SPAN = STAGES.register(InSpan())
