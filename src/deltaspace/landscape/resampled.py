"""A landscape's scores over bootstrap samples of its examples; how, is each metric's own knowledge."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from deltaspace.landscape.landscape import Landscape
from deltaspace.landscape.refinement import filled
from deltaspace.tasks.metrics import METRICS


def draws(count: int, samples: int, seed: int) -> Float[np.ndarray, "samples examples"]:
    """How often each of `count` examples is in each bootstrap sample."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples).astype(np.float64)


def resampled_scores(landscape: Landscape, samples: int, seed: int) -> Float[np.ndarray, "deltas samples cells"]:
    """Scores in every bootstrap sample; filled-in cells follow from those that they were filled from.

    Args:
        landscape: every cell sampled or filled in.
        samples: how many.
        seed: decides them.
    """
    metric, answers = METRICS.find(landscape.metric), landscape.answers
    counts = draws(landscape.examples, samples, seed)
    scores = []
    for predictions, done in zip(landscape.predictions, landscape.done, strict=True):
        rows = [[answers[index] for index in row] for row in predictions[done].tolist()]
        values = np.full((samples, *done.shape), np.nan)
        values[:, done] = metric.resampled(rows, landscape.targets, counts)
        scores.append(filled(values, done).reshape(samples, -1))
    return np.stack(scores)
