"""Correlation of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deltaspace.errors import DeltaspaceError
from deltaspace.tasks.metrics.metric import METRICS, Metric


class Pearson(Metric):
    """Pearson correlation of the numbers, times 100 (numpy's corrcoef); 0 when predictions or targets are constant.

    Raises:
        DeltaspaceError: a prediction or a target is not a number.
    """

    name = "pearson"
    kinds = ("regression",)

    def score(self, predictions: Sequence[str], targets: Sequence[str]) -> float:
        x, y = _numbers(predictions), _numbers(targets)
        return 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else 100 * float(np.corrcoef(x, y)[0, 1])

    def resampled(
        self, predictions: Sequence[Sequence[str]], targets: Sequence[str], counts: Float[np.ndarray, "samples examples"]
    ) -> Float[np.ndarray, "samples rows"]:
        """From weighted moments."""
        shares, y = counts / counts.sum(1, keepdims=True), _numbers(targets)
        return np.stack([_weighted(_numbers(row), y, shares) for row in predictions], 1)


def _numbers(texts: Sequence[str]) -> Float[np.ndarray, " examples"]:
    try:
        return np.array([float(text) for text in texts])
    except ValueError as error:
        raise DeltaspaceError("pearson needs numbers", found=str(error), expected="numbers as predictions and targets") from None


def _weighted(
    x: Float[np.ndarray, " examples"], y: Float[np.ndarray, " examples"], shares: Float[np.ndarray, "samples examples"]
) -> Float[np.ndarray, " samples"]:
    means = shares @ np.stack([x, y], 1)
    away = [values - mean[:, None] for values, mean in zip((x, y), means.T, strict=True)]
    xy, xx, yy = ((shares * a * b).sum(1) for a, b in ((away[0], away[1]), (away[0], away[0]), (away[1], away[1])))
    product = np.sqrt(xx * yy)
    # A sample of equal values differs from its mean by rounding alone.
    constant = (xx <= 1e-18 * (1 + means[:, 0] ** 2)) | (yy <= 1e-18 * (1 + means[:, 1] ** 2))
    correlations: Float[np.ndarray, " samples"] = 100 * np.where(constant, 0.0, xy / np.where(constant, 1.0, product))
    return correlations


METRICS.register(Pearson())
