"""A control: of every transferred vector only the part that the source tasks' codes span."""

from __future__ import annotations

from collections.abc import Iterator

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.transferred import TRANSFERRED, Key
from deltaspace.subspace import transfer
from deltaspace.subspace.codes import in_span
from deltaspace.training import Resume


class InSpan(Stage[Key]):
    """Scores alone; nothing is tuned beyond the vectors."""

    name = "in_span"
    title = "part in the codes' span"
    position = 48
    scored = True
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        return iter(TRANSFERRED.keys(recipe) if recipe.controls else ())

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        return MadeFrom((OPTIMIZED.artefact(key.vector), SUBSPACE.artefact(key.vector.subspace)), [key.delta])

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        attached, task = resources.attached(key.delta, key.seed), resources.tasks[key.task]
        subspace = SUBSPACE.load(resources, key.vector.subspace)
        vector = OPTIMIZED.vector(resources, key.vector).to(resources.backbone.device)
        result = transfer(subspace, in_span(vector, subspace.codes_of(key.source)), attached, task)
        row = self.row(key, task, result, source_delta=key.source)
        return Content(row=row)


IN_SPAN = STAGES.register(InSpan())
