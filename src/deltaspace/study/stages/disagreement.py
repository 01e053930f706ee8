"""Disagreement: how far the deltas compute the same function around the source tasks' codes, before anything is tuned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.subspace import SUBSPACE, Key
from deltaspace.study.work import Work
from deltaspace.subspace.agreement import disagreement_by_radius
from deltaspace.training import Resume

# What a pair of deltas at one radius takes in the file, in numbers of 4 bytes.
_ENTRY = 32


class DisagreementStage(Stage[Key]):
    """One measurement for each subspace, on test inputs of the unseen tasks; their targets are not read."""

    name = "disagreement"
    title = "disagreement"
    position = 25
    # 2: a row for each pair and radius. 3: every vector counts alike. 4: changes are those of the PLM itself, not of the first
    # delta at its initial vector.
    version = 4
    suffix = ".json"

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        # One delta has nobody to disagree with; without shared codes there are no common vectors.
        if recipe.disagreement is None or len(recipe.deltas) < 2 or not recipe.projection_method().shared:
            return iter(())
        return itertools.starmap(Key, itertools.product(recipe.dim, recipe.seed))

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        probing = resources.recipe.disagreement
        assert probing is not None
        tasks = [resources.tasks[name].fingerprint for name in resources.recipe.unseen_tasks]
        return MadeFrom((SUBSPACE.artefact(key),), [probing.model_dump(), tasks, list(resources.recipe.deltas)])

    def work(self, resources: Resources, key: Key) -> Work:
        recipe, probing = resources.recipe, resources.recipe.disagreement
        assert probing is not None
        each = len(probing.radii) * (probing.vectors + 1) * probing.texts
        pairs = math.comb(len(recipe.deltas), 2)
        numbers = _ENTRY * len(probing.radii) * pairs
        return Work(task=recipe.unseen_tasks[0], numbers=numbers).reading(each, *recipe.deltas)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        probing = resources.recipe.disagreement
        assert probing is not None
        family, names = resources.backbone.family, resources.recipe.unseen_tasks
        each = -(-probing.texts // len(names))
        items = [item for name in names for item in family.encode(resources.tasks[name], resources.tasks[name].test[:each])]
        subspace = SUBSPACE.load(resources, key)
        measured = disagreement_by_radius(subspace, resources.deltas(key.seed), items[: probing.texts], probing, key.seed)
        curves = [
            {"radius": radius, "first": first, "second": second, "disagreement": value}
            for radius, at in measured.items()
            for (first, second), value in at.pairs.items()
        ]
        return Content(metadata={"disagreement": curves})


DISAGREEMENT = STAGES.register(DisagreementStage())
