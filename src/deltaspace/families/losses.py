"""Cross-entropies of equal parts of a batch: several trainings share a pass of the model, and each has its loss."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

# The label that transformers' and torch's cross-entropies pass over.
IGNORED = -100


def part_losses(scores: Float[Tensor, "*rows classes"], gold: Int[Tensor, " *rows"], parts: int) -> Float[Tensor, " parts"]:
    """The mean cross-entropy of each of `parts` equal consecutive parts of the rows, in nats; IGNORED ones are passed over."""
    # Along the last dimension: sums over a vocabulary that lies across memory are off by 1e-4 in fp32.
    flat = F.cross_entropy(scores.flatten(0, -2).float(), gold.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view(parts, -1).sum(1) / (gold != IGNORED).view(parts, -1).sum(1)
