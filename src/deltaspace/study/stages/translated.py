"""Translation: every transferred vector tuned, without labels, to compute what the delta computes that it was found through."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from deltaspace.study.artefact import Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.stages.independent import training_history
from deltaspace.study.stages.optimized import OPTIMIZED
from deltaspace.study.stages.subspace import SUBSPACE
from deltaspace.study.stages.transferred import Key
from deltaspace.study.work import Work
from deltaspace.subspace import transfer, translate
from deltaspace.training import Resume


class TranslatedStage(Stage[Key]):
    """The vectors, with their scores; its tuned numbers tell it from transfer, which trains nothing."""

    name = "translated"
    title = "translation"
    position = 55
    # 2: answers to the task are compared, not all that is decided by. 3: it may begin at the mean code. 4: written answers are
    # compared token by token.
    version = 4
    scored = True

    def keys(self, recipe: Recipe) -> Iterator[Key]:
        if recipe.translate is None:
            return
        for dim, seed in itertools.product(recipe.dim, recipe.seed):
            for task, (source, delta) in itertools.product(recipe.unseen_tasks, itertools.permutations(recipe.deltas, 2)):
                yield Key(dim, source, delta, task, seed)

    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        how = resources.recipe.translate
        assert how is not None
        settings = [resources.tasks[key.task].fingerprint, key.delta, how.model_dump()]
        return MadeFrom((OPTIMIZED.artefact(key.vector), SUBSPACE.artefact(key.vector.subspace)), settings)

    def work(self, resources: Resources, key: Key) -> Work:
        how, task = resources.recipe.translate, resources.tasks[key.task]
        assert how is not None
        starts = len(how.starts)
        work = Work.of_training(how, [key.delta], how.held_out, side_by_side=starts, task=key.task, numbers=key.dim)
        # The delta that is followed answers each input once; the vector is scored at the end.
        return work.reading(len(task.train), key.source).reading(len(task.test), key.delta)

    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        task, subspace = resources.tasks[key.task], SUBSPACE.load(resources, key.vector.subspace)
        source, target = resources.attached(key.source, key.seed), resources.attached(key.delta, key.seed)
        vector = OPTIMIZED.vector(resources, key.vector).to(resources.backbone.device)
        how = resources.recipe.translate
        translated = translate(subspace, vector, (source, target), task, how, seed=key.seed, resume=resume)
        result = transfer(subspace, translated.vector, target, task)
        row = self.row(key, task, result, source_delta=key.source, tuned=key.dim)
        missed = {"before": translated.before, "after": translated.after}
        metadata = {"missed": missed, "start": translated.start, **training_history(translated.fit), **self.shown(result)}
        return Content({"vector": translated.vector}, metadata, row.timed(translated.fit))


TRANSLATED = STAGES.register(TranslatedStage())
